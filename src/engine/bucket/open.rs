//! From settings to a client.

use std::sync::{Arc, Once};
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use super::errors::Problem;

/// How often a request is made again that met a fault which passes: 500, 503, a reset.
const RETRIES: usize = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A server that is there takes a connection within this time.
const CONNECT: Duration = Duration::from_secs(5);

/// Servers close connections that are idle for longer; those of AWS after 20 s or so.
const IDLE: Duration = Duration::from_secs(15);

/// Which service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    S3,
    Google,
    Azure,
    Folder,
}

/// Where a bucket is and how it is spoken to.
pub struct Settings {
    pub service: Service,
    /// As it is named in messages: its URL, which holds no secret.
    pub name: String,
    /// The bucket, the container, or the path of the folder.
    pub bucket: String,
    /// What the names of all objects begin with; may be empty.
    pub prefix: String,
    /// By the names that the service's client knows; credentials among them.
    pub options: Vec<(String, String)>,
    /// How long to wait for a server that gives nothing.
    pub timeout: Duration,
}

impl Settings {
    pub fn open(&self) -> Result<Arc<dyn ObjectStore>, Problem> {
        match self.service {
            Service::S3 => self.open_s3(),
            Service::Google => self.open_google(),
            Service::Azure => self.open_azure(),
            Service::Folder => self.open_folder(),
        }
    }

    fn open_s3(&self) -> Result<Arc<dyn ObjectStore>, Problem> {
        let mut builder = AmazonS3Builder::from_env();
        for (name, value) in &self.options {
            builder = builder.with_config(known(name)?, value);
        }
        let builder = builder
            .with_bucket_name(&self.bucket)
            .with_allow_http(true)
            .with_retry(self.retries())
            .with_client_options(self.client());
        Ok(Arc::new(builder.build().map_err(|e| Problem::of(&e))?))
    }

    fn open_google(&self) -> Result<Arc<dyn ObjectStore>, Problem> {
        let mut builder = GoogleCloudStorageBuilder::from_env();
        for (name, value) in &self.options {
            builder = builder.with_config(known(name)?, value);
        }
        let builder = builder
            .with_bucket_name(&self.bucket)
            .with_retry(self.retries())
            .with_client_options(self.client());
        Ok(Arc::new(builder.build().map_err(|e| Problem::of(&e))?))
    }

    fn open_azure(&self) -> Result<Arc<dyn ObjectStore>, Problem> {
        let mut builder = MicrosoftAzureBuilder::from_env();
        for (name, value) in &self.options {
            builder = builder.with_config(known(name)?, value);
        }
        let builder = builder
            .with_container_name(&self.bucket)
            .with_allow_http(true)
            .with_retry(self.retries())
            .with_client_options(self.client());
        Ok(Arc::new(builder.build().map_err(|e| Problem::of(&e))?))
    }

    fn open_folder(&self) -> Result<Arc<dyn ObjectStore>, Problem> {
        std::fs::create_dir_all(&self.bucket).map_err(|e| Problem::Other(e.to_string()))?;
        let folder = LocalFileSystem::new_with_prefix(&self.bucket);
        let folder = folder.map_err(|e| Problem::of(&e))?;
        Ok(Arc::new(folder.with_automatic_cleanup(true)))
    }

    fn retries(&self) -> RetryConfig {
        RetryConfig {
            backoff: BackoffConfig {
                init_backoff: FIRST_PAUSE,
                max_backoff: LONGEST_PAUSE,
                base: 2.0,
            },
            max_retries: RETRIES,
            // The fault is told, and not that time was up.
            retry_timeout: self.timeout.mul_f64(0.5),
        }
    }

    fn client(&self) -> ClientOptions {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            // Somebody else may have chosen one: that serves as well.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        ClientOptions::new()
            .with_allow_http(true)
            .with_connect_timeout(CONNECT.min(self.timeout))
            // A long object takes its time, as long as it moves.
            .with_timeout_disabled()
            .with_read_timeout(self.timeout)
            .with_pool_idle_timeout(IDLE)
    }
}

fn known<K: std::str::FromStr>(name: &str) -> Result<K, Problem> {
    name.parse()
        .map_err(|_| Problem::Other(format!("there is no option {name:?}")))
}
