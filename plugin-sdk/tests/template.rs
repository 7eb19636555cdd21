//! What `throughline plugin new` writes is the example, under another name: so the template compiles and its tests pass.

use std::fs;
use std::path::{Path, PathBuf};

fn sdk(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn rendered(file: &str) -> String {
    let template = sdk("template").join(format!("{file}.in"));
    let text = fs::read_to_string(&template).unwrap_or_else(|error| panic!("{}: {error}", template.display()));
    text.replace("@NAME@", "minimal").replace("@SDK@", "{ path = \".\" }")
}

#[test]
fn the_example_is_the_template_rendered() {
    for file in ["src/lib.rs", "src/tests.rs", "manifest.json", "kit/kit.json", "kit/silo.json"] {
        let example = fs::read_to_string(sdk("../examples/minimal-plugin").join(file)).unwrap();
        assert!(
            rendered(file) == example,
            "{file} differs: change plugin-sdk/template/{file}.in and copy it to the example, @NAME@ as minimal"
        );
    }
}

#[test]
fn no_placeholder_is_left() {
    for file in ["src/lib.rs", "src/tests.rs", "manifest.json", "Cargo.toml", "README.md", "BEHAVIOR.md", "gitignore", "kit/kit.json"] {
        let text = rendered(file);
        assert!(!text.contains('@'), "{file} has a placeholder that nobody fills in:\n{text}");
    }
}
