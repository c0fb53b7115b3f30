//! Dates with times as ISO 8601 has them, in the one form that Python's `isoformat` gives.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub year: u32,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub microsecond: u32,
}

/// `2020-01-01T00:00:00`, or with six more digits if there are microseconds.
pub fn text(moment: Moment) -> String {
    let mut text = String::with_capacity(27);
    let mut digits = |number: u32, count: u32, before: Option<char>| {
        text.extend(before);
        for place in (0..count).rev() {
            text.extend(char::from_digit(number / 10_u32.pow(place) % 10, 10));
        }
    };
    digits(moment.year, 4, None);
    digits(u32::from(moment.month), 2, Some('-'));
    digits(u32::from(moment.day), 2, Some('-'));
    digits(u32::from(moment.hour), 2, Some('T'));
    digits(u32::from(moment.minute), 2, Some(':'));
    digits(u32::from(moment.second), 2, Some(':'));
    if moment.microsecond != 0 {
        digits(moment.microsecond, 6, Some('.'));
    }
    text
}

/// What `text` gave; `None` for anything else, as dates in other forms are. Whether there is such
/// a date is not looked at.
pub fn parse(text: &str) -> Option<Moment> {
    let text = text.as_bytes();
    if text.len() != 19 && text.len() != 26 {
        return None;
    }
    let number = |from: usize, count: usize, before: u8| {
        if from > 0 && text[from - 1] != before {
            return None;
        }
        text[from..from + count]
            .iter()
            .try_fold(0, |number, digit| {
                digit
                    .is_ascii_digit()
                    .then(|| number * 10 + u32::from(digit - b'0'))
            })
    };
    let short = |from, before| u8::try_from(number(from, 2, before)?).ok();
    Some(Moment {
        year: number(0, 4, 0)?,
        month: short(5, b'-')?,
        day: short(8, b'-')?,
        hour: short(11, b'T')?,
        minute: short(14, b':')?,
        second: short(17, b':')?,
        microsecond: if text.len() == 26 {
            number(20, 6, b'.')?
        } else {
            0
        },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Moment, parse, text};

    #[test]
    fn texts_are_as_pythons() {
        let mut moment = Moment {
            year: 987,
            month: 1,
            day: 20,
            hour: 3,
            minute: 4,
            second: 50,
            microsecond: 0,
        };
        assert_eq!(text(moment), "0987-01-20T03:04:50");
        moment.microsecond = 60;
        assert_eq!(text(moment), "0987-01-20T03:04:50.000060");
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_so(
            year in 1..10_000_u32, month in 0..100_u8, hour in 0..100_u8, microsecond in 0..1_000_000_u32,
        ) {
            let moment = Moment {
                year, month, day: month, hour, minute: hour, second: hour, microsecond,
            };
            prop_assert_eq!(parse(&text(moment)), Some(moment));
        }

        #[test]
        fn other_texts_are_left_alone(other in "[0-9T:.+-]{19}|[0-9T:.+-]{26}|.*") {
            if let Some(moment) = parse(&other) {
                prop_assert!(text(moment) == other || other.ends_with(".000000"));
            }
        }
    }
}
