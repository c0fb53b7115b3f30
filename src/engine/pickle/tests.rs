use super::*;
use proptest::prelude::*;

/// `pickle.dumps(DigestedCall("add", {"x": d, "y": d}, result=d, metadata=defaultdict(dict,
/// {"runtime": {"walltime": 0.5}}), module="m", version=3), 4)` with `d = Digest("ab" * 32)`.
fn sample() -> Vec<u8> {
    let mut pickle = b"\x80\x04\x95\0\0\0\0\0\0\0\0".to_vec();
    let text = |pickle: &mut Vec<u8>, text: &str| {
        pickle.push(0x8c);
        pickle.push(u8::try_from(text.len()).unwrap());
        pickle.extend_from_slice(text.as_bytes());
        pickle.push(0x94);
    };
    text(&mut pickle, "fleche.call"); // 0
    text(&mut pickle, "DigestedCall"); // 1
    pickle.extend_from_slice(b"\x93\x94)\x81\x94}\x94("); // 2, 3, 4
    text(&mut pickle, "name"); // 5
    text(&mut pickle, "add"); // 6
    text(&mut pickle, "arguments"); // 7
    pickle.extend_from_slice(b"}\x94("); // 8
    text(&mut pickle, "x"); // 9
    text(&mut pickle, "fleche.digest"); // 10
    text(&mut pickle, "Digest"); // 11
    pickle.extend_from_slice(b"\x93\x94"); // 12
    text(&mut pickle, &"ab".repeat(32)); // 13
    pickle.extend_from_slice(b"\x85\x94\x81\x94"); // 14, 15
    text(&mut pickle, "y"); // 16
    pickle.extend_from_slice(b"h\x0fu"); // the digest again
    text(&mut pickle, "result"); // 17
    pickle.extend_from_slice(b"h\x0f");
    text(&mut pickle, "metadata"); // 18
    text(&mut pickle, "collections"); // 19
    text(&mut pickle, "defaultdict"); // 20
    pickle.extend_from_slice(b"\x93\x94"); // 21
    text(&mut pickle, "builtins"); // 22
    text(&mut pickle, "dict"); // 23
    pickle.extend_from_slice(b"\x93\x94\x85\x94R\x94"); // 24, 25, 26
    text(&mut pickle, "runtime"); // 27
    pickle.extend_from_slice(b"}\x94"); // 28
    text(&mut pickle, "walltime"); // 29
    pickle.push(b'G');
    pickle.extend_from_slice(&0.5f64.to_be_bytes());
    pickle.extend_from_slice(b"ss");
    text(&mut pickle, "module");
    text(&mut pickle, "m");
    text(&mut pickle, "version");
    pickle.extend_from_slice(b"K\x03");
    text(&mut pickle, "code_digest");
    pickle.extend_from_slice(b"Nub.");
    pickle
}

#[test]
fn a_record_is_read() {
    let pickle = sample();
    let record = read_record(&pickle).unwrap();
    assert_eq!(record.name, "add");
    assert_eq!(record.module, Some("m"));
    assert_eq!(record.version, Value::Int(3));
    assert_eq!(record.code_digest, None);
    assert_eq!(record.arguments, [("x", [0xab; 32]), ("y", [0xab; 32])]);
    assert_eq!(record.result, Some([0xab; 32]));
    let runtime = Value::Dict(vec![(Value::Text("walltime"), Value::Float(0.5))]);
    assert_eq!(record.metadata, [(Value::Text("runtime"), runtime)]);
}

#[test]
fn a_torn_record_is_not_read() {
    let pickle = sample();
    for length in 0..pickle.len() {
        assert_eq!(
            read_record(&pickle[..length]),
            Err(Unreadable),
            "{length} bytes"
        );
    }
}

#[test]
fn nothing_else_is_run() {
    assert_eq!(read_record(b"cos\nsystem\n(S'true'\ntR."), Err(Unreadable));
    assert_eq!(read_record(b"K\x01."), Err(Unreadable));
}

#[test]
fn endless_nesting_is_not_followed() {
    for (open, close) in [(&b")"[..], &b"\x85"[..]), (b"]", b"a"), (b"(", b"t")] {
        let mut pickle = open.repeat(500_000);
        pickle.extend_from_slice(&close.repeat(500_000));
        assert_eq!(read_record(&pickle), Err(Unreadable));
    }
}

proptest! {
    #[test]
    fn any_bytes_end_cleanly(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_record(&bytes);
    }

    #[test]
    fn changed_bytes_end_cleanly(position in 0usize..400, byte: u8) {
        let mut pickle = sample();
        let position = position % pickle.len();
        pickle[position] = byte;
        let _ = read_record(&pickle);
    }
}
