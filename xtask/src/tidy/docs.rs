//! What the documents point at exists: files that links name, and `docs/…` paths that code and texts speak of.

use std::path::{Path, PathBuf};

/// Everything that is read by people or speaks of documents.
const ENDINGS: [&str; 8] = ["md", "rs", "toml", "json", "wit", "yaml", "in", "html"];
/// Folders that hold nothing of ours to read: outputs, and what was recorded elsewhere.
const SKIPPED: [&str; 6] = ["target", ".git", ".run", "recordings", "fixtures", "golden"];

fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(&crate::shell::root(), &mut found);
    assert!(found.iter().any(|path| path.ends_with("README.md")), "the walk over the repository is broken");
    found
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if !SKIPPED.iter().any(|skipped| name == *skipped) {
                collect(&path, into);
            }
        } else if path.extension().is_some_and(|extension| ENDINGS.iter().any(|ending| extension == *ending)) {
            into.push(path);
        }
    }
}

/// Targets of `[text](target)` outside code blocks, without their fragments; links to elsewhere left out.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_code = false;
    for line in text.lines() {
        is_code ^= line.trim_start().starts_with("```");
        if is_code {
            continue;
        }
        for rest in line.split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or_default().split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.contains(' ') && !target.starts_with("mailto:") {
                found.push(target.to_owned());
            }
        }
    }
    found
}

/// Paths like `docs/a-page.md` in a text, wherever they stand.
fn pages(text: &str) -> Vec<String> {
    let is_of_path = |char: char| char.is_ascii_alphanumeric() || "-_./".contains(char);
    let starts = text.match_indices("docs/").filter(|(at, _)| !text[..*at].ends_with(is_of_path));
    let paths = starts.map(|(at, _)| text[at..].split(|char| !is_of_path(char)).next().unwrap_or_default());
    paths.filter_map(|path| Some(path[..path.find(".md")? + 3].to_owned())).collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    for path in files().iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let text = std::fs::read_to_string(path).unwrap();
        for target in links(&text) {
            let wanted = path.parent().unwrap().join(&target);
            assert!(wanted.exists(), "{} links to {target}, which is not there", path.display());
        }
    }
}

#[test]
fn documents_that_are_spoken_of_exist() {
    let root = crate::shell::root();
    let mut seen = 0;
    for path in files() {
        // This file speaks of pages that are not there.
        if path.ends_with("tidy/docs.rs") {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for page in pages(&text) {
            seen += 1;
            assert!(root.join(&page).is_file(), "{} speaks of {page}, which is not there", path.display());
        }
    }
    assert!(seen > 10, "only {seen} mentions were found");
}

#[test]
fn the_readme_leads_to_every_page() {
    let root = crate::shell::root();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    for page in std::fs::read_dir(root.join("docs")).unwrap().flatten() {
        let name = page.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            assert!(readme.contains(&format!("docs/{name}")), "README.md does not lead to docs/{name}");
        }
    }
}

#[test]
fn links_and_pages_are_found_in_texts() {
    assert_eq!(links("see [a](b.md#c) and [d](https://e) [f](#g)\n```\n[x](y)\n```\n[h](i/j)"), ["b.md", "i/j"]);
    assert_eq!(pages("`docs/a.md`, ../docs/b.md (docs/adr/1-c.md) docs.rs/d docs/e"), ["docs/a.md", "docs/adr/1-c.md"]);
}
