//! Finds key octets in text and in memory, however they may have been written down.
//!
//! Eight octets of a key in a row are a leak. A text is read in every way that prints octets: as it is, as hexadecimal
//! digits, as lists of hexadecimal or decimal numbers, as base64 of both alphabets and at every alignment.
#![allow(clippy::string_slice, reason = "what is sliced is ASCII")]
#![allow(dead_code, unreachable_pub, reason = "each test crate uses its part")]

use std::collections::HashMap;

/// So many octets of a key in a row are looked for.
pub const WINDOW: usize = 8;

/// What must not be found.
#[derive(Default)]
pub struct Leaks {
    windows: HashMap<[u8; WINDOW], String>,
    /// The pairs of octets that a window may begin with, to look up few.
    pairs: Vec<bool>,
}

impl Leaks {
    /// Looks for this key from now on. `name` is what a finding calls it.
    pub fn add(&mut self, name: &str, key: &[u8]) {
        assert!(key.len() >= WINDOW, "{name} is too short to be told from chance");
        self.pairs.resize(1 << 16, false);
        for window in key.windows(WINDOW) {
            let window: [u8; WINDOW] = window.try_into().unwrap();
            // What is all one octet says nothing.
            if window.iter().any(|octet| *octet != window[0]) {
                self.pairs[pair(&window)] = true;
                self.windows.insert(window, name.to_owned());
            }
        }
    }

    /// How many windows are looked for.
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// The name of a key that has eight octets among `octets` as they are.
    pub fn in_octets(&self, octets: &[u8]) -> Option<&str> {
        self.all_in_octets(octets).next()
    }

    /// The names of all keys that have eight octets among `octets`, one for every place.
    pub fn all_in_octets(&self, octets: &[u8]) -> impl Iterator<Item = &str> {
        self.places(octets).map(|(_, name)| name)
    }

    /// Where they are as well.
    pub fn places(&self, octets: &[u8]) -> impl Iterator<Item = (usize, &str)> {
        octets.windows(WINDOW).enumerate().filter_map(|(at, window)| {
            let may_be = self.pairs.get(pair(window)).copied().unwrap_or(false);
            let name = may_be.then(|| self.windows.get(window)).flatten();
            name.map(|name| (at, name.as_str()))
        })
    }

    /// The name of a key that can be read from `text`, and how it is written there.
    pub fn in_text(&self, text: &str) -> Option<(&str, &'static str)> {
        if let Some(name) = self.in_octets(text.as_bytes()) {
            return Some((name, "as it is"));
        }
        let found = |octets: Vec<u8>, form| self.in_octets(&octets).map(|name| (name, form));
        for run in runs(text, |c| c.is_ascii_hexdigit(), 2 * WINDOW) {
            for skip in 0..2 {
                if let Some(leak) = found(from_hex(&run[skip..]), "in hexadecimal") {
                    return Some(leak);
                }
            }
        }
        for run in runs(text, |c| c.is_ascii_alphanumeric() || "+/-_".contains(c), WINDOW) {
            for skip in 0..4.min(run.len()) {
                if let Some(leak) = found(from_base64(&run[skip..]), "in base64") {
                    return Some(leak);
                }
            }
        }
        for (radix, form) in [(10, "as decimal numbers"), (16, "as hexadecimal numbers")] {
            if let Some(leak) = numbers(text, radix)
                .into_iter()
                .find_map(|octets| found(octets, form))
            {
                return Some(leak);
            }
        }
        None
    }
}

fn pair(window: &[u8]) -> usize {
    usize::from(window[0]) << 8 | usize::from(window[1])
}

/// The longest runs of such characters, with at least `least` of them.
fn runs(text: &str, belongs: impl Fn(char) -> bool, least: usize) -> impl Iterator<Item = &str> {
    text.split(move |c| !belongs(c))
        .filter(move |run| run.len() >= least)
}

fn from_hex(digits: &str) -> Vec<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0) as u8;
    digits
        .as_bytes()
        .chunks_exact(2)
        .map(|pair| value(pair[0]) << 4 | value(pair[1]))
        .collect()
}

fn from_base64(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => u32::from(c - b'A'),
        b'a'..=b'z' => u32::from(c - b'a') + 26,
        b'0'..=b'9' => u32::from(c - b'0') + 52,
        b'+' | b'-' => 62,
        _ => 63,
    };
    let mut octets = Vec::new();
    for group in text.as_bytes().chunks(4) {
        let bits = (0..4).fold(0, |bits, at| bits << 6 | group.get(at).map_or(0, |c| value(*c)));
        let whole = group.len() * 6 / 8;
        octets.extend(bits.to_be_bytes().into_iter().skip(1).take(whole));
    }
    octets
}

/// Numbers that follow each other with nothing but punctuation between them.
fn numbers(text: &str, radix: u32) -> Vec<Vec<u8>> {
    let mut lists = Vec::new();
    let mut list = Vec::new();
    for word in text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
    {
        let digits = word.strip_prefix("0x").filter(|_| radix == 16).unwrap_or(word);
        match u8::from_str_radix(digits, radix) {
            Ok(octet) => list.push(octet),
            Err(_) => lists.push(std::mem::take(&mut list)),
        }
    }
    lists.push(list);
    lists.retain(|list| list.len() >= WINDOW);
    lists
}

/// Every way in which somebody may print a key.
pub fn printed(key: &[u8]) -> Vec<String> {
    const STANDARD: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const URL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let base64 = |alphabet: &[u8]| -> String {
        let groups = key.chunks(3);
        let digits = groups.flat_map(|group| {
            let bits = (0..3).fold(0_u32, |bits, at| {
                bits << 8 | u32::from(group.get(at).copied().unwrap_or(0))
            });
            let count = group.len() + 1;
            (0..count).map(move |at| (bits >> (18 - 6 * at) & 63) as usize)
        });
        digits.map(|digit| char::from(alphabet[digit])).collect()
    };
    let hex: String = key.iter().map(|octet| format!("{octet:02x}")).collect();
    vec![
        format!("{key:?}"),
        format!("{key:02x?}"),
        format!("{key:#04x?}"),
        format!("key={hex}."),
        format!("key=0{}", hex.to_uppercase()),
        base64(STANDARD),
        format!("x{}", base64(URL)),
        key.iter().map(u8::to_string).collect::<Vec<_>>().join(","),
    ]
}

/// Whatever is printed of a key is found, and what is not of a key is not.
pub fn prove(leaks: &Leaks, key: &[u8]) {
    for text in printed(key) {
        let text = format!("Row {{ id: 7, {text} }}");
        assert!(leaks.in_text(&text).is_some(), "not found in {text}");
        // Half of a key is as good as found.
        assert!(
            leaks.in_text(&text[..text.len() * 2 / 3]).is_some(),
            "not found in a part of {text}"
        );
    }
    assert!(leaks.in_octets(&[&[1, 2, 3], key, &[4]].concat()).is_some());
    assert_eq!(
        leaks.in_text("Row { id: 7, state: Active, expires: 2024, 1, 2, 3, 4, 5, 6, 7, 8, 9 }"),
        None
    );
}
