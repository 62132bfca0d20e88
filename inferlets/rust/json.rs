//! As much JSON as a program needs to read the flags and facts that the server writes: flat objects without spaces.

use std::char::{decode_utf16, REPLACEMENT_CHARACTER};

/// What follows a key. A quote within a text is escaped, so no text can look like a key.
pub fn find<'a>(object: &'a str, key: &str) -> &'a str {
    let marked = format!("\"{key}\":");
    let at = object.find(&marked).expect("the server always sends this key");
    &object[at + marked.len()..]
}

/// A number, or None for null.
pub fn number(value: &str) -> Option<i64> {
    let end = value.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(value.len());
    value[..end].parse().ok()
}

/// A list of numbers.
pub fn numbers(value: &str) -> Vec<i64> {
    let end = value.find(']').expect("a list ends");
    value[1..end].split(',').filter_map(number).collect()
}

/// A text; `value` begins with its quote.
pub fn text(value: &str) -> String {
    let mut units: Vec<u16> = Vec::new();
    let mut rest = value[1..].chars();
    while let Some(c) = rest.next() {
        match c {
            '"' => break,
            '\\' => match rest.next().expect("something is escaped") {
                'u' => {
                    let digits: String = rest.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&digits, 16).expect("four hexadecimal digits"));
                }
                'b' => units.push(8),
                'f' => units.push(12),
                'n' => units.push(10),
                'r' => units.push(13),
                't' => units.push(9),
                other => units.push(other as u16),
            },
            other => units.extend(other.encode_utf16(&mut [0; 2]).iter()),
        }
    }
    decode_utf16(units).map(|c| c.unwrap_or(REPLACEMENT_CHARACTER)).collect()
}
