//! Where documents begin and end, and what is said of one that does not parse.

use serde_json::Value;

use super::*;

#[track_caller]
fn check_split(format: Format, text: &str, expected: &[(usize, &str)]) {
    let actual: Vec<_> = documents(format, text)
        .iter()
        .map(|document| (document.lines_before, document.text))
        .collect();
    assert_eq!(actual, expected, "{text:?}");
}

#[test]
fn yaml_documents_end_where_a_line_starts_with_three_dashes() {
    for (text, expected) in [
        ("a: 1\n", &[(0, "a: 1\n")][..]),
        ("a: 1\n---\nb: 2\n", &[(0, "a: 1\n"), (1, "---\nb: 2\n")]),
        (
            "---\na: 1\n--- # two\nb: 2",
            &[(0, "---\na: 1\n"), (2, "--- # two\nb: 2")],
        ),
        (
            "--- {a: 1}\n---\t{b: 2}\n",
            &[(0, "--- {a: 1}\n"), (1, "---\t{b: 2}\n")],
        ),
        (
            "a: 1\r\n---\r\nb: 2\r\n",
            &[(0, "a: 1\r\n"), (1, "---\r\nb: 2\r\n")],
        ),
        (
            "a: |\n  ---\n---x: 1\n ---\n",
            &[(0, "a: |\n  ---\n---x: 1\n ---\n")],
        ),
        ("\u{feff}a: 1", &[(0, "a: 1")]),
    ] {
        check_split(Format::Yaml, text, expected);
    }
}

#[test]
fn documents_without_content_do_not_count() {
    for text in [
        "",
        "\n",
        "---\n---\n",
        "# nothing\n---\n  # here\n...\n",
        "%YAML 1.2\n---\n",
    ] {
        check_split(Format::Yaml, text, &[]);
    }
    check_split(
        Format::Yaml,
        "%YAML 1.2\n---\na: 1\n---\n# end\n",
        &[(1, "---\na: 1\n")],
    );
    for text in ["", " \n\t"] {
        check_split(Format::Json, text, &[]);
    }
}

#[test]
fn json_documents_follow_each_other_until_one_breaks() {
    for (text, expected) in [
        ("{\"a\": 1}\n", &[(0, "{\"a\": 1}")][..]),
        (
            "\n{\"a\": 1}\n{\n\"b\": 2}",
            &[(1, "{\"a\": 1}"), (2, "{\n\"b\": 2}")],
        ),
        (
            "{\"a\": 1}\n{\"b\": }\n{\"c\": 3}",
            &[(0, "{\"a\": 1}"), (1, "{\"b\": }\n{\"c\": 3}")],
        ),
    ] {
        check_split(Format::Json, text, expected);
    }
}

#[derive(serde::Deserialize, Debug)]
struct Shape {
    #[expect(dead_code, reason = "its type is what counts")]
    port: u16,
}

#[track_caller]
fn check_error(format: Format, text: &str, expected: &str) {
    let last = *documents(format, text).last().expect("a document");
    let error = parse::<Shape>(format, last).expect_err(text);
    assert!(
        error.starts_with(expected),
        "{error:?} should start with {expected:?}"
    );
    assert!(
        !error.contains('\n') && error.matches("column").count() == 1,
        "{error:?}"
    );
}

#[test]
fn an_error_names_its_place_in_the_file() {
    check_error(
        Format::Yaml,
        "port: 1\n---\nport: http\n",
        "line 3, column 7: ",
    );
    check_error(Format::Yaml, "port: [1\n", "line 1, column ");
    check_error(
        Format::Yaml,
        "# all\n---\nport:\n\t- 1\n",
        "line 4, column 2: ",
    );
    check_error(
        Format::Yaml,
        "port: 1\nport: 2\n",
        "line 2, column 1: duplicate mapping key `port`",
    );
    check_error(
        Format::Json,
        "{\"port\": 1}\n{\"port\":\n \"http\"}",
        "line 3, column 7: invalid type",
    );
    check_error(Format::Json, "{\"port\": 1", "line 1, column 10: EOF");
    check_error(
        Format::Json,
        "{}\n{} {\"port\": }",
        "line 2, column 13: expected value",
    );
}

#[test]
fn yaml_cannot_grow_without_end() {
    let mut text = "a: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("l{level}: &a{level} [{aliases}]\n"));
    }
    let document = documents(Format::Yaml, &text)[0];
    parse::<Value>(Format::Yaml, document).expect_err("a bomb");
}

#[test]
fn depth_without_end_is_an_error_and_size_is_not() {
    let documents_of =
        |format, text: &str| parse::<Value>(format, documents(format, text)[0]).map(|_| ());
    for deep in [
        "[".repeat(100_000),
        "- ".repeat(100_000),
        format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000)),
    ] {
        documents_of(Format::Yaml, &deep).expect_err("too deep");
        documents_of(Format::Json, &deep).expect_err("too deep");
    }
    let long = format!("[{}1]", "1, ".repeat(400_000));
    documents_of(Format::Yaml, &long).expect("not too long");
    documents_of(Format::Json, &long).expect("not too long");
}
