use super::typed::{Element, Kind};
use super::*;
use proptest::prelude::*;

type Plain = Writer<Vec<u8>>;

fn bytes_of(write: impl FnOnce(&mut Plain)) -> Vec<u8> {
    let mut writer = Plain::new();
    write(&mut writer);
    joined(&writer)
}

fn joined(writer: &Plain) -> Vec<u8> {
    let mut bytes = Vec::new();
    let finished = writer.finish();
    finished.for_each(|piece| bytes.extend(piece));
    assert_eq!(bytes.len(), finished.length());
    if let Some(simple) = writer.simple() {
        assert_eq!(simple, bytes);
    }
    bytes
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes[START.len()..]
        .iter()
        .fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
}

/// Appendix A of RFC 8949.
#[test]
fn writes_as_the_standard_says() {
    let integers = [
        (0, "00"),
        (23, "17"),
        (24, "1818"),
        (1000, "1903e8"),
        (1_000_000, "1a000f4240"),
        (1_000_000_000_000, "1b000000e8d4a51000"),
        (-1, "20"),
        (-1000, "3903e7"),
        (i64::MIN, "3b7fffffffffffffff"),
    ];
    for (number, expected) in integers {
        assert_eq!(hex(&bytes_of(|writer| writer.integer(number))), expected);
    }
    let floats = [
        (0.0, "f90000"),
        (-0.0, "f98000"),
        (1.1, "fb3ff199999999999a"),
        (1.5, "f93e00"),
        (65504.0, "f97bff"),
        (100_000.0, "fa47c35000"),
        (f64::from(f32::MAX), "fa7f7fffff"),
        (1.0e+300, "fb7e37e43c8800759c"),
        (f64::from_bits(0x3e70_0000_0000_0000), "f90001"),
        (0.000_061_035_156_25, "f90400"),
        (f64::INFINITY, "f97c00"),
        (f64::from_bits(0x7ff8_0000_0000_0000), "f97e00"),
        (f64::from_bits(0x7ff8_0000_0000_0001), "fb7ff8000000000001"),
    ];
    for (number, expected) in floats {
        assert_eq!(hex(&bytes_of(|writer| writer.float(number))), expected);
    }
    let mut big = vec![0; 8];
    big.extend([1, 0]);
    assert_eq!(
        hex(&bytes_of(|writer| writer.big_integer(false, &big))),
        "c249010000000000000000"
    );
    assert_eq!(
        hex(&bytes_of(|writer| writer.big_integer(true, &[0xff; 8]))),
        "3bffffffffffffffff"
    );
}

#[test]
fn what_is_shared_is_numbered_in_the_order_of_the_bytes() {
    let mut writer = Plain::new();
    writer.length(Major::Array, 4);
    let lonely = writer.place();
    writer.length(Major::Array, 0);
    let shared = writer.place();
    writer.length(Major::Array, 1);
    writer.reference(shared);
    writer.reference(shared);
    writer.large_byte_string(vec![7; 3]);
    assert!(lonely != shared);
    let bytes = joined(&writer);
    assert_eq!(hex(&bytes), "8480d81c81d81d00d81d0043070707");
    assert_eq!(check(&bytes), Ok(()));
}

#[test]
fn elements_are_sorted_by_their_bytes() {
    let mut part = Plain::of_part();
    let mut starts = Vec::new();
    for number in [300, 2, 10] {
        starts.push(part.written());
        part.integer(number);
    }
    let bytes = bytes_of(|writer| {
        writer.length(Major::Array, 3);
        writer.append_sorted(&part, &starts);
    });
    assert_eq!(hex(&bytes), "83020a19012c");
}

#[test]
fn tags_of_typed_arrays() {
    let known = [
        (Kind::Unsigned, 1, false, 64),
        (Kind::Unsigned, 8, true, 71),
        (Kind::Signed, 1, true, 72),
        (Kind::Signed, 4, true, 78),
        (Kind::Float, 2, false, 80),
        (Kind::Float, 8, true, 86),
    ];
    for (kind, size, little, tag) in known {
        assert_eq!(Element::new(kind, size, little).unwrap().tag(), tag);
    }
    for tag in 0..100 {
        if let Some(element) = Element::of(tag) {
            assert_eq!(element.tag(), tag);
        }
    }
    for unknown in [63, 68, 76, 83, 87, 88] {
        assert_eq!(Element::of(unknown), None);
    }
}

#[test]
fn lengths_are_not_believed() {
    for claim in [
        &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..],
        &[0xbb, 0x80, 0, 0, 0, 0, 0, 0, 1],
        &[0x5a, 0xff, 0xff, 0xff, 0xff],
        // Each of them would fit alone.
        &[0x84, 0x84, 0x83, 0, 0, 0, 0],
    ] {
        let bytes = [&START[..], claim].concat();
        assert!(
            matches!(check(&bytes), Err(Error::Truncated(_))),
            "{claim:?}"
        );
    }
    let nested = [&START[..], &[0x81; 1500], &[0]].concat();
    assert_eq!(check(&nested), Err(Error::TooDeep));
    let indefinite = [&START[..], &[0x9f, 0xff]].concat();
    assert!(matches!(check(&indefinite), Err(Error::Malformed { .. })));
}

fn arbitrary_entry() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec((0_u8..9, any::<u64>()), 1..40).prop_map(|items| {
        bytes_of(|writer| {
            writer.length(Major::Array, items.len());
            for (kind, number) in items {
                match kind {
                    0 => writer.integer(number.cast_signed()),
                    1 => writer.float(f64::from_bits(number)),
                    2 => writer.text(&number.to_string()),
                    3 => writer.byte_string(&number.to_le_bytes()),
                    4 => {
                        writer.tag(number);
                        writer.null();
                    }
                    5 => {
                        writer.length(Major::Map, 1);
                        writer.bool(number % 2 == 0);
                        writer.head(Major::Unsigned, number);
                    }
                    6 => {
                        let place = writer.place();
                        writer.length(Major::Array, 1);
                        writer.reference(place);
                    }
                    7 => writer.large_byte_string(vec![1; 9]),
                    _ => writer.big_integer(number % 2 == 0, &[0xff; 11]),
                }
            }
        })
    })
}

/// How many mutated inputs are read; `FLECHE_FUZZ` says another number.
fn count() -> u32 {
    let asked = std::env::var("FLECHE_FUZZ").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(2000)
}

proptest! {
    #[test]
    fn floats_keep_every_bit(bits: u64) {
        let bytes = bytes_of(|writer| writer.float(f64::from_bits(bits)));
        let head = Reader::new(&bytes).unwrap().head().unwrap();
        let Head::Float(number) = head else { panic!("{head:?}") };
        prop_assert_eq!(number.to_bits(), bits);
    }

    #[test]
    fn short_floats_are_short(half: u16) {
        let number = super::float::from_half(half);
        prop_assert_eq!(bytes_of(|writer| writer.float(number)).len(), START.len() + 3);
        prop_assert_eq!(super::float::shorten(number), super::float::Short::Half(half));
    }

    #[test]
    fn whatever_is_written_is_well_formed(entry in arbitrary_entry()) {
        prop_assert_eq!(check(&entry), Ok(()));
        prop_assert!(check(&entry[..entry.len() - 1]).is_err());
        prop_assert!(check(&[&entry[..], &[0]].concat()).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(count()))]

    #[test]
    fn no_bytes_make_reading_fail_otherwise(
        entry in arbitrary_entry(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut entry = entry;
        for (at, byte) in changes {
            let at = START.len() + at.index(entry.len() - START.len());
            entry[at] = byte;
        }
        // It ends, and without a panic.
        let _ = check(&entry);
    }
}
