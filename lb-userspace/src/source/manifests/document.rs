//! The documents of a file and the parsers' verdict on each. Knows YAML and JSON, but no kind of object.

use serde::de::{DeserializeOwned, IgnoredAny};

/// How a file is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    Yaml,
    Json,
}

/// One document of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Document<'a> {
    pub(super) text: &'a str,
    /// Lines of the file before it.
    pub(super) lines_before: usize,
    /// Characters of its first line before it, which only JSON can have.
    pub(super) columns_before: usize,
}

/// Splits a file into its documents, so that one which does not parse costs no other. Documents without content are left
/// out.
pub(super) fn documents(format: Format, text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match format {
        Format::Yaml => yaml_documents(text),
        Format::Json => json_documents(text),
    }
}

/// Parses a document; the error is one line and names the place in the file.
pub(super) fn parse<T: DeserializeOwned>(
    format: Format,
    document: Document<'_>,
) -> Result<T, String> {
    match format {
        Format::Yaml => parse_yaml(document),
        Format::Json => serde_json::from_str(document.text).map_err(|error| {
            let suffix = format!(" at line {} column {}", error.line(), error.column());
            describe(
                document,
                &error.to_string(),
                &suffix,
                (error.line(), error.column()),
            )
        }),
    }
}

/// A line that starts with `---` and a blank ends a document wherever it stands: YAML 1.2 forbids it inside a scalar at the
/// start of a line (production c-forbidden), which is what lets documents be told apart before they are parsed.
fn yaml_documents(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut start_line) = (0, 0);
    let mut offset = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if is_marker(line) {
            documents.push(Document {
                text: &text[start..offset],
                lines_before: start_line,
                columns_before: 0,
            });
            (start, start_line) = (offset, number);
        }
        offset += line.len();
    }
    documents.push(Document {
        text: &text[start..],
        lines_before: start_line,
        columns_before: 0,
    });
    documents.retain(|document| document.text.lines().any(has_content));
    documents
}

fn is_marker(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn has_content(line: &str) -> bool {
    let rest = if is_marker(line) { &line[3..] } else { line }.trim_start();
    !(rest.is_empty() || rest.starts_with('#') || line.starts_with('%') || line.starts_with("..."))
}

fn json_documents(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let mut start = 0;
    loop {
        let value = values.next();
        // What follows an error cannot be told apart: it is one document, which will not parse.
        let end = match value {
            Some(Ok(_)) => values.byte_offset(),
            Some(Err(_)) | None => text.len(),
        };
        let rest = &text[start..end];
        let blank = rest.len() - rest.trim_start().len();
        let before = &text[..start + blank];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        documents.push(Document {
            text: &rest[blank..],
            lines_before: before.matches('\n').count(),
            columns_before: before[line_start..].chars().count(),
        });
        if !matches!(value, Some(Ok(_))) {
            break;
        }
        start = end;
    }
    documents.retain(|document| !document.text.trim().is_empty());
    documents
}

fn parse_yaml<T: DeserializeOwned>(document: Document<'_>) -> Result<T, String> {
    // A list of many objects is one document, so nothing bounds its size. Depth keeps its bound, for the parser recurses, and
    // aliases get one that no manifest reaches: with them a small file could grow without end.
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
    };
    serde_saphyr::from_str_with_options(document.text, options).map_err(|error| {
        let words = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
        let Some(location) = error.location() else {
            return words.replace('\n', " ");
        };
        let suffix = format!(" at line {}, column {}", location.line(), location.column());
        let line = usize::try_from(location.line()).unwrap_or(usize::MAX);
        let column = usize::try_from(location.column()).unwrap_or(usize::MAX);
        describe(document, &words, &suffix, (line, column))
    })
}

/// Both parsers end their words with the place in the document; here it is that in the file, and in front.
fn describe(
    document: Document<'_>,
    words: &str,
    suffix: &str,
    (line, column): (usize, usize),
) -> String {
    let words = words
        .strip_suffix(suffix)
        .unwrap_or(words)
        .replace('\n', " ");
    let column = if line == 1 {
        document.columns_before.saturating_add(column)
    } else {
        column
    };
    let line = document.lines_before.saturating_add(line);
    format!("line {line}, column {column}: {words}")
}

#[cfg(test)]
mod tests;
