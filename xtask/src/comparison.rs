//! Holds `docs/comparison.md` against the tests: what it names as proof is there.

use std::{fs, path::PathBuf};

use crate::workspace;

/// A test as the page names it: `level: file::function`.
struct Named {
    file: PathBuf,
    function: String,
}

/// The tests that a page names, by the folder that each level has.
fn named(page: &str) -> Vec<Named> {
    let quoted = page.split('`').skip(1).step_by(2);
    let tests = quoted.filter_map(|text| {
        let (level, test) = text.split_once(": ")?;
        let (file, function) = test.rsplit_once("::")?;
        let folder = match level {
            "lb-common" => "lb-common/src/pipeline/tests".to_owned(),
            level => format!("lb-userspace/tests/{level}"),
        };
        let file = workspace::root().join(folder).join(format!("{file}.rs"));
        Some(Named {
            file,
            function: function.to_owned(),
        })
    });
    tests.collect()
}

#[test]
fn each_test_that_the_comparison_names_exists() {
    let page = fs::read_to_string(workspace::root().join("docs/comparison.md")).unwrap();
    let tests = named(&page);
    assert!(tests.len() > 20, "only {} tests are named", tests.len());
    for Named { file, function } in tests {
        let source = fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{}, for {function}: {error}", file.display()));
        let is_there = [format!("fn {function}("), format!("fn {function}<")]
            .iter()
            .any(|declaration| source.contains(declaration));
        assert!(is_there, "{} has no {function}", file.display());
    }
}
