use std::fs::{self, File};
use std::io::Write;

use super::*;

fn of(content: &[u8]) -> Hash {
    let mut encoder = Encoder::new(Tag::File);
    encoder.child(blake3::hash(content).as_bytes());
    encoder.finish()
}

#[test]
fn files_of_all_sizes_have_the_digest_of_their_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let bytes: Vec<u8> = (0..40_000_000_u32).map(|i| i.to_le_bytes()[1]).collect();
    let sizes = [
        0,
        1,
        1024,
        1 << 18,
        1 << 20,
        (1 << 20) + 1,
        1 << 24,
        (1 << 25) + 12_345,
    ];
    for size in sizes
        .iter()
        .flat_map(|size: &usize| [size.saturating_sub(1), *size, size + 1])
    {
        fs::write(&path, &bytes[..size]).unwrap();
        assert_eq!(digest(&path).unwrap(), of(&bytes[..size]), "{size}");
    }
}

#[test]
fn a_file_that_was_just_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let mut file = File::create(&path).unwrap();
    for byte in 0..100 {
        let bytes = vec![byte; 50_000];
        system::write_at(&file, &bytes, 0).unwrap();
        file.flush().unwrap();
        assert_eq!(digest(&path).unwrap(), of(&bytes));
    }
}

#[test]
fn folders_count_by_names_and_content() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
    for root in [&one, &two] {
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("sub/a"), "a").unwrap();
    }
    assert_eq!(digest(&one).unwrap(), digest(&two).unwrap());
    fs::create_dir(two.join("empty")).unwrap();
    assert_ne!(digest(&one).unwrap(), digest(&two).unwrap());
    fs::remove_dir(two.join("empty")).unwrap();
    fs::rename(two.join("sub/a"), two.join("sub/b")).unwrap();
    assert_ne!(digest(&one).unwrap(), digest(&two).unwrap());
}
