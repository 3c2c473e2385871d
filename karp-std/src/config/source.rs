//! The text of a configuration and where its fields stand.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::ConfigFileError;

/// A field or table of the document.
struct Place {
    path: String,
    key: Range<usize>,
    value: Range<usize>,
}

/// A configuration's text with the places of its fields.
pub(super) struct Source {
    file: PathBuf,
    /// Where each line ends, and where the text does.
    line_ends: Vec<usize>,
    len: usize,
    places: Vec<Place>,
}

impl Source {
    /// Reads `text` as a `T`. Only the top-level tables that `takes` wants are looked at; the others belong to somebody
    /// else.
    pub(super) fn parse<T: DeserializeOwned>(
        text: &str,
        file: &Path,
        takes: impl Fn(&str) -> bool,
    ) -> Result<(Self, T), ConfigFileError> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut places = Vec::new();
        collect(table.get_ref(), "", &mut places);
        places.sort_by_key(|place| place.key.start);
        let source = Self {
            file: file.to_owned(),
            line_ends: text.match_indices('\n').map(|(at, _)| at).collect(),
            len: text.len(),
            places,
        };
        if let Some(error) = errors.into_iter().next() {
            return Err(source.syntax_error(&error));
        }
        let span = table.span();
        let mut table = table.into_inner();
        let names: Vec<String> = table.keys().map(|name| name.get_ref().to_string()).collect();
        for other in names.iter().filter(|name| !takes(name)) {
            table.remove(other.as_str());
        }
        match T::deserialize(toml::Deserializer::from(Spanned::new(span, table))) {
            Ok(document) => Ok((source, document)),
            Err(error) => Err(source.schema_error(&error)),
        }
    }

    /// An error at the field with this path, or where it would stand.
    pub(super) fn error(
        &self,
        path: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> ConfigFileError {
        ConfigFileError {
            file: self.file.clone(),
            line: Some(self.line(self.offset(path))),
            field: path.to_owned(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    /// A field that must be there and is not.
    pub(super) fn missing(&self, path: &str) -> ConfigFileError {
        self.error(
            path,
            "this field is missing",
            "add it; the example file shows how",
        )
    }

    /// The directory that relative paths start from.
    pub(super) fn directory(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new(""))
    }

    /// Where a field stands; if it is absent, the table that it belongs to.
    fn offset(&self, path: &str) -> usize {
        let mut path = path;
        loop {
            if let Some(place) = self.places.iter().find(|place| place.path == path) {
                return place.key.start;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or(""),
                None => return 0,
            }
        }
    }

    fn line(&self, offset: usize) -> usize {
        self.line_ends.partition_point(|end| *end < offset) + 1
    }

    /// Text that is no TOML. The field is the last one that begins at or ahead of the place.
    fn syntax_error(&self, error: &toml::de::Error) -> ConfigFileError {
        let at = error.span().map_or(self.len, |span| span.start);
        let field = self
            .places
            .iter()
            .rfind(|place| place.key.start <= at && !place.path.is_empty())
            .map(|place| place.path.as_str());
        let (problem, expected) = split(error.message());
        let remedy = match expected {
            Some(expected) => format!("expected here: {expected}"),
            None => "complete or correct it; the example file shows every field".to_owned(),
        };
        ConfigFileError {
            file: self.file.clone(),
            line: Some(self.line(at)),
            field: field.unwrap_or("(start of file)").to_owned(),
            problem: format!("this is not TOML: {problem}"),
            remedy,
        }
    }

    /// TOML that is not our schema.
    fn schema_error(&self, error: &toml::de::Error) -> ConfigFileError {
        let span = error.span().unwrap_or(0..0);
        let message = error.message();
        let holder = self.innermost(&span);
        if let Some(rest) = message.strip_prefix("missing field `") {
            let name = rest.trim_end_matches('`');
            let path = if holder.is_empty() {
                name.to_owned()
            } else {
                format!("{holder}.{name}")
            };
            let mut missing = self.missing(&path);
            missing.line = Some(self.line(span.start));
            return missing;
        }
        let (problem, expected) = split(message);
        let mut wrong = if problem.starts_with("unknown field") {
            let known = expected.unwrap_or_default().replace("one of ", "");
            self.error(
                &holder,
                "there is no such field",
                format!("correct its name or remove it; known here: {known}"),
            )
        } else {
            let remedy = match expected {
                Some(expected) => format!("give {}", in_words(expected)),
                None => "correct it; the example file shows how".to_owned(),
            };
            self.error(&holder, problem, remedy)
        };
        wrong.line = Some(self.line(span.start));
        wrong
    }

    /// The path of the smallest field or table around a span.
    fn innermost(&self, span: &Range<usize>) -> String {
        let around = |range: &Range<usize>| range.start <= span.start && span.end <= range.end;
        let size = |place: &&Place| {
            let of = |range: &Range<usize>| around(range).then(|| range.len());
            of(&place.key)
                .into_iter()
                .chain(of(&place.value))
                .min()
                .unwrap_or(usize::MAX)
        };
        let candidates = self
            .places
            .iter()
            .filter(|place| around(&place.key) || around(&place.value));
        candidates
            .min_by_key(size)
            .map(|place| place.path.clone())
            .unwrap_or_default()
    }
}

fn collect(table: &DeTable<'_>, prefix: &str, places: &mut Vec<Place>) {
    for (key, value) in table {
        let name = shown(key.get_ref());
        let path = if prefix.is_empty() {
            name.to_string()
        } else {
            format!("{prefix}.{name}")
        };
        note(&path, key.span(), value, places);
    }
}

fn note(path: &str, key: Range<usize>, value: &Spanned<DeValue<'_>>, places: &mut Vec<Place>) {
    places.push(Place {
        path: path.to_owned(),
        key,
        value: value.span(),
    });
    match value.get_ref() {
        DeValue::Table(table) => collect(table, path, places),
        DeValue::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                // An element has no key; what names it is where it begins.
                let start = item.span().start;
                note(&format!("{path}[{at}]"), start..start, item, places);
            }
        }
        _ => {}
    }
}

/// The name as errors show it. A quote that is not closed makes a name of all that follows, secrets among it, so what no
/// field of ours can be called is not repeated.
fn shown(name: &str) -> &str {
    const LONGEST: usize = 40;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.len() <= LONGEST && name.chars().all(plain) {
        name
    } else {
        "(quoted)"
    }
}

/// A message of serde or of the TOML parser in its two parts, on one line.
fn split(message: &str) -> (String, Option<&str>) {
    let (problem, expected) = parts(message);
    (problem.replace(char::is_control, " "), expected)
}

fn parts(message: &str) -> (String, Option<&str>) {
    match message.split_once(", expected ") {
        Some((problem, expected)) => (problem.to_owned(), Some(expected)),
        None => (message.to_owned(), None),
    }
}

/// Names of Rust types in words for people.
fn in_words(expected: &str) -> String {
    match expected {
        "u8" => "a whole number from 0 to 255".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" | "u64" | "usize" => "a whole number".to_owned(),
        "a string" => "text in quotes".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list in square brackets".to_owned(),
        other if other.starts_with("struct ") => "a table".to_owned(),
        other => other.to_owned(),
    }
}
