//! Numbers as people read them.

/// 1234567 as `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// A share as `12.5 %`. What is not all or nothing does not look so; the share of nothing is 0.
pub fn percent(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0 %".into();
    }
    let percent = 100.0 * part as f64 / whole as f64;
    match part.cmp(&whole) {
        std::cmp::Ordering::Equal => "100 %".into(),
        _ if percent < 0.05 => "< 0.1 %".into(),
        std::cmp::Ordering::Less => format!("{:.1} %", percent.min(99.9)),
        std::cmp::Ordering::Greater => format!("{percent:.1} %"),
    }
}

/// Bytes as `22.4 MiB`.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// A number in four digits: `0.01230`, `1.234e-7`, `12.34`.
pub fn short(number: f64) -> String {
    match number.abs() {
        0.0 => "0".into(),
        size if !(1e-4..1e6).contains(&size) => format!("{number:.3e}"),
        size => format!("{number:.*}", (3 - size.log10().floor() as i32).max(0) as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([7, 1000, 1_234_567].map(thousands), ["7", "1,000", "1,234,567"]);
    }

    #[test]
    fn shares_are_not_rounded_to_all_or_nothing() {
        let shares = [(0, 0), (0, 9), (1, 10_000), (1, 8), (9_999, 10_000), (9, 9), (3, 2)];
        assert_eq!(
            shares.map(|(part, whole)| percent(part, whole)),
            ["0 %", "0 %", "< 0.1 %", "12.5 %", "99.9 %", "100 %", "150.0 %"]
        );
    }

    #[test]
    fn four_digits_are_enough() {
        let numbers = [0.0, 0.0123456, 1.23456, 123.456, 45678.9, 1.23456e-7, f64::INFINITY];
        assert_eq!(numbers.map(short), ["0", "0.01235", "1.235", "123.5", "45679", "1.235e-7", "inf"]);
    }
}
