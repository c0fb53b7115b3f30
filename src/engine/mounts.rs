//! On which kind of file system a path lies.

use std::path::{Path, PathBuf};

/// File systems on a network: they have no memory that processes of several machines share, and
/// some have no locks.
const NETWORK: [&str; 24] = [
    "9p",
    "afpfs",
    "afs",
    "beegfs",
    "ceph",
    "cephfs",
    "cifs",
    "fuse.sshfs",
    "glusterfs",
    "fuse.glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs3",
    "nfs4",
    "nfsd",
    "orangefs",
    "panfs",
    "smb",
    "smb2",
    "smb3",
    "smbfs",
    "virtiofs",
];

/// The network file system that `path` lies on, as the system names it; none for a local one, or
/// where the system does not tell.
pub fn network_file_system(path: &Path) -> Option<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let path = existing(path)?;
    let kind = file_system(&table, &path)?;
    NETWORK.contains(&kind).then(|| kind.to_owned())
}

/// The path, or the nearest folder above it that exists, without links.
fn existing(path: &Path) -> Option<PathBuf> {
    path.ancestors()
        .find_map(|folder| folder.canonicalize().ok())
}

/// The type of the file system that is mounted nearest above `path`, by the kernel's mount table
/// (proc_pid_mountinfo(5)).
fn file_system<'a>(table: &'a str, path: &Path) -> Option<&'a str> {
    let mounts = table.lines().filter_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let point = unescaped(mount.split(' ').nth(4)?);
        let kind = source.split(' ').next()?;
        path.starts_with(&point)
            .then(|| (point.components().count(), kind))
    });
    // Of two mounts on one folder the later one is in force.
    mounts.max_by_key(|(depth, _)| *depth).map(|(_, kind)| kind)
}

/// A mount point with its octal escapes of blanks and backslashes resolved.
fn unescaped(point: &str) -> PathBuf {
    let mut text = String::new();
    let mut rest = point;
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        let code = after
            .get(..3)
            .and_then(|code| u8::from_str_radix(code, 8).ok());
        if let (Some(code), Some(remaining)) = (code, after.get(3..)) {
            text.push(char::from(code));
            rest = remaining;
        } else {
            text.push('\\');
            rest = after;
        }
    }
    text.push_str(rest);
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "22 1 8:1 / / rw - ext4 /dev/sda1 rw
23 22 0:5 / /proc rw shared:1 - proc proc rw
40 22 0:9 / /home rw shared:7 master:2 - nfs4 server:/home rw
41 40 0:9 / /home/my\\040data rw - lustre mds:/l rw
42 40 0:10 / /home/local rw - xfs /dev/sdb rw
";

    #[test]
    fn the_nearest_mount_counts() {
        let kind = |path: &str| file_system(TABLE, Path::new(path));
        assert_eq!(kind("/etc/x"), Some("ext4"));
        assert_eq!(kind("/home/user/c.db"), Some("nfs4"));
        assert_eq!(kind("/home/my data/c.db"), Some("lustre"));
        assert_eq!(kind("/home/local/c.db"), Some("xfs"));
        assert_eq!(kind("/homes/c.db"), Some("ext4"));
    }

    #[test]
    fn a_folder_of_ours_is_local() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(network_file_system(&folder.path().join("not/there")), None);
    }
}
