//! Where secrets come from: the environment, a file, or standard input; never the command line or a config file itself.

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;

/// Where one secret is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Source {
    /// In an environment variable.
    Env(String),
    /// In a file, without the line ending at its end.
    File(PathBuf),
    /// The next line of standard input; on the command line only.
    #[serde(skip)]
    Line,
}

/// Reads `NAME=env:VARIABLE`, `NAME=file:PATH`, `NAME=-`.
pub(crate) fn parse(argument: &str) -> anyhow::Result<(String, Source)> {
    let form = "write --secret NAME=env:VARIABLE, NAME=file:PATH or NAME=- (a line of standard input)";
    // The argument may hold the secret itself by mistake: it is not repeated.
    let Some((name, source)) = argument.split_once('=').filter(|(name, _)| !name.is_empty()) else { bail!("{form}") };
    let source = match source.split_once(':') {
        _ if source == "-" => Source::Line,
        Some(("env", variable)) if !variable.is_empty() => Source::Env(variable.to_owned()),
        Some(("file", path)) if !path.is_empty() => Source::File(PathBuf::from(path)),
        _ => bail!("the secret {name:?} itself does not belong on the command line, where others can see it; {form}"),
    };
    Ok((name.to_owned(), source))
}

/// Fetches all of them; relative files are looked for beside `base`.
pub(crate) fn fetch(sources: &BTreeMap<String, Source>, base: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    sources.iter().map(|(name, source)| Ok((name.clone(), fetch_one(name, source, base)?))).collect()
}

fn fetch_one(name: &str, source: &Source, base: &Path) -> anyhow::Result<String> {
    let text = match source {
        Source::Env(variable) => {
            std::env::var(variable).with_context(|| format!("the secret {name:?} is to come from the environment variable {variable}"))?
        }
        Source::File(path) => {
            let path = base.join(path);
            std::fs::read_to_string(&path).with_context(|| format!("the secret {name:?} is to come from the file {}", path.display()))?
        }
        Source::Line => line(name)?,
    };
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        bail!("the secret {name:?} is empty");
    }
    Ok(text.to_owned())
}

fn line(name: &str) -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        eprint!("{name} (shown while you type; better: --secret {name}=env:VARIABLE): ");
    }
    let mut text = String::new();
    std::io::stdin().lock().read_line(&mut text).with_context(|| format!("cannot read the secret {name:?} from standard input"))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_and_a_bare_secret_is_refused_without_repeating_it() {
        let table = [
            ("p=env:X", Some(Source::Env("X".into()))),
            ("p=file:a:b", Some(Source::File("a:b".into()))),
            ("p=-", Some(Source::Line)),
            ("p=hunter2", None),
            ("p=env:", None),
            ("=env:X", None),
            ("hunter2", None),
        ];
        for (given, wanted) in table {
            match (parse(given), wanted) {
                (Ok((name, source)), Some(wanted)) => assert_eq!((name.as_str(), source), ("p", wanted)),
                (Err(error), None) => assert!(!error.to_string().contains("hunter2"), "{error}"),
                (found, _) => panic!("{given}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_file_is_found_beside_its_description_and_loses_one_line_ending() {
        let folder = tempfile::tempdir().unwrap();
        for (content, wanted) in [("abc\r\n", "abc"), ("abc\n", "abc"), (" a b ", " a b ")] {
            std::fs::write(folder.path().join("pw"), content).unwrap();
            let sources = BTreeMap::from([("p".to_owned(), Source::File("pw".into()))]);
            assert_eq!(fetch(&sources, folder.path()).unwrap()["p"], wanted);
        }
        std::fs::write(folder.path().join("pw"), "\n").unwrap();
        let sources = BTreeMap::from([("p".to_owned(), Source::File("pw".into()))]);
        assert!(fetch(&sources, folder.path()).unwrap_err().to_string().contains("empty"));
    }
}
