//! Sizes as people write them: `512KiB`, `1MiB`.

/// Reads a whole number of `B`, `KiB` or `MiB`; bytes come back.
pub fn parse(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale: Option<u64> = match unit {
        "B" => Some(1),
        "KiB" => Some(1024),
        "MiB" => Some(1024 * 1024),
        _ => None,
    };
    let bytes = scale.and_then(|scale| number.parse::<u64>().ok()?.checked_mul(scale));
    bytes.ok_or_else(|| {
        format!(
            "{text:?} is no size; write a whole number and its unit (B, KiB, MiB), as in \"1MiB\""
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_its_unit() {
        let cases = [("0B", 0), ("12B", 12), ("512KiB", 524_288), ("1MiB", 1_048_576)];
        for (text, bytes) in cases {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "12", "1MB", "1 MiB", "-1B", "1GiB", "99999999999999999MiB"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
