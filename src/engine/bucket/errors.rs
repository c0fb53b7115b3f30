//! What can go wrong with a bucket, in words that say what to do.

use std::time::Duration;

use object_store::path::Path;

/// Why a bucket did not do what it was asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    NoBucket,
    Denied(String),
    Expired(String),
    Credentials(String),
    Clock(String),
    Busy(String),
    Region(String),
    Unreachable(String),
    TimedOut(Duration),
    Other(String),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {action} {path:?} in {bucket}: {}", problem.text())]
    Failed {
        action: &'static str,
        bucket: String,
        path: String,
        problem: Problem,
    },
    /// By the user.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    pub fn of(action: &'static str, bucket: &str, path: &str, problem: Problem) -> Self {
        Self::Failed {
            action,
            bucket: bucket.to_owned(),
            path: path.to_owned(),
            problem,
        }
    }

    /// One word for what it is; see `Problem::name`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Failed { problem, .. } => problem.name(),
            Self::Interrupted => "interrupted",
        }
    }
}

impl Problem {
    /// What an error of the client comes to. Of an answer only its code and message are taken: the
    /// rest of it, and URLs, may hold what is secret.
    pub fn of(error: &object_store::Error) -> Self {
        let all = chain(error);
        let code = between(&all, "<Code>", "</Code>");
        let message = between(&all, "<Message>", "</Message>");
        let status = between(&all, "status code: ", ":").map(str::trim);
        let said = match (code, message, status) {
            (Some(code), Some(message), _) if !message.is_empty() => format!("{code}: {message}"),
            (Some(code), ..) => code.to_owned(),
            (None, _, Some(status)) => status.to_owned(),
            (None, _, None) => innermost(error),
        };
        let is = |codes: &[&str]| code.is_some_and(|code| codes.contains(&code));
        let begins = |number: &str| status.is_some_and(|status| status.starts_with(number));
        if is(&["NoSuchBucket", "ContainerNotFound"])
            || all.contains("The specified bucket does not exist")
        {
            Self::NoBucket
        } else if is(&[
            "ExpiredToken",
            "TokenRefreshRequired",
            "ExpiredTokenException",
        ]) {
            Self::Expired(said)
        } else if is(&["RequestTimeTooSkewed", "RequestExpired"]) {
            Self::Clock(said)
        } else if is(&[
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "InvalidToken",
            "AuthorizationHeaderMalformed",
            "AuthenticationFailed",
            "InvalidAuthenticationInfo",
        ]) || begins("401")
        {
            Self::Credentials(said)
        } else if is(&["AccessDenied", "AllAccessDisabled", "AuthorizationFailure"])
            || begins("403")
        {
            Self::Denied(said)
        } else if is(&["PermanentRedirect", "IllegalLocationConstraintException"])
            || all.contains("incorrectly configured region")
            || begins("301")
        {
            Self::Region(said)
        } else if is(&["SlowDown", "ServiceUnavailable", "ServerBusy"])
            || begins("429")
            || begins("503")
        {
            Self::Busy(said)
        } else if all.contains("instance metadata") || all.contains("169.254.169.254") {
            Self::Credentials("there are none".to_owned())
        } else if matches!(error, object_store::Error::NotImplemented { .. }) {
            Self::Other("this is not possible there".to_owned())
        } else if status.is_none() && code.is_none() && is_of_the_net(&all) {
            Self::Unreachable(said)
        } else {
            Self::Other(said)
        }
    }

    /// One word for what it is.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NoBucket => "no bucket",
            Self::Denied(_) => "denied",
            Self::Expired(_) => "expired",
            Self::Credentials(_) => "credentials",
            Self::Clock(_) => "clock",
            Self::Busy(_) => "busy",
            Self::Region(_) => "region",
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut(_) => "timeout",
            Self::Other(_) => "other",
        }
    }

    fn text(&self) -> String {
        match self {
            Self::NoBucket => {
                "there is no such bucket (NoSuchBucket). Create it, or correct `url`, `endpoint` or \
                 `region`"
                    .to_owned()
            }
            Self::Denied(said) => format!(
                "these credentials do not permit it ({said}). Ask for the rights to read, write, \
                 remove and list there; without the right to list, S3 says the same of objects \
                 that are not there"
            ),
            Self::Expired(said) => format!(
                "the credentials have expired ({said}). Log in again (`aws sso login`, say); they \
                 are read anew with the next call"
            ),
            Self::Credentials(said) => format!(
                "the credentials are not accepted ({said}). Set AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY, or `profile` for one of ~/.aws/credentials, or those of \
                 your service"
            ),
            Self::Clock(said) => format!(
                "the clock of this machine differs from the server's by minutes ({said}). Set it \
                 right"
            ),
            Self::Busy(said) => format!(
                "the server wants fewer requests, also after more tries ({said}). Try again later, or \
                 with fewer workers"
            ),
            Self::Region(said) => {
                format!("the bucket is in another region ({said}). Set `region`")
            }
            Self::Unreachable(said) => format!(
                "the server is out of reach ({said}). Look whether it runs, and at `endpoint` and \
                 the network"
            ),
            Self::TimedOut(time) => format!(
                "the server gave nothing for {} s, which is the limit set by `timeout`",
                time.as_secs_f64()
            ),
            Self::Other(said) => said.clone(),
        }
    }
}

/// Whether a server, or a folder, knows no conditions on writes.
pub fn is_unconditional(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotImplemented { .. })
        || between(&chain(error), "<Code>", "</Code>") == Some("NotImplemented")
}

/// An answer that ended too early.
pub fn cut(path: &Path, length: usize, stated: u64) -> object_store::Error {
    object_store::Error::Generic {
        store: "bucket",
        source: format!("{path} came cut, {length} bytes of {stated}").into(),
    }
}

fn chain(error: &object_store::Error) -> String {
    let mut all = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        all.push('\n');
        all.push_str(&error.to_string());
        source = error.source();
    }
    all
}

fn innermost(error: &object_store::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

fn is_of_the_net(all: &str) -> bool {
    [
        "error sending request",
        "HTTP error",
        "dns error",
        "tcp connect",
    ]
    .iter()
    .any(|sign| all.contains(sign))
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let from = text.find(begin)? + begin.len();
    let length = text[from..].find(end)?;
    Some(&text[from..from + length])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic {
            store: "S3",
            source: text.to_owned().into(),
        }
    }

    #[test]
    fn of_an_answer_only_code_and_message_are_told() {
        let error = generic(
            "Error performing PUT https://u:p@host/b?sig=s3cret - Server returned non-2xx status \
             code: 403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code><Message>No.</Message>\
             <StringToSign>s3cret</StringToSign></Error>",
        );
        let problem = Problem::of(&error);
        assert_eq!(problem.name(), "credentials");
        assert!(!problem.text().contains("s3cret"));
        assert!(problem.text().contains("SignatureDoesNotMatch: No."));
    }

    #[test]
    fn each_fault_has_its_name() {
        let of = |code: &str| {
            let text = format!("status code: 400 Bad: <Code>{code}</Code><Message>m</Message>");
            Problem::of(&generic(&text)).name()
        };
        assert_eq!(of("NoSuchBucket"), "no bucket");
        assert_eq!(of("ExpiredToken"), "expired");
        assert_eq!(of("RequestTimeTooSkewed"), "clock");
        assert_eq!(of("AccessDenied"), "denied");
        assert_eq!(of("SlowDown"), "busy");
        assert_eq!(of("InternalError"), "other");
    }
}
