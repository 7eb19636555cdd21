//! Reads CSV (RFC 4180): quoted fields may hold commas, line ends and doubled quotes.

use std::collections::HashMap;

use anyhow::bail;

/// A table with named columns.
pub(crate) struct Csv {
    columns: HashMap<String, usize>,
    rows: Vec<Vec<String>>,
}

/// One row of a table.
#[derive(Clone, Copy)]
pub(crate) struct Row<'t> {
    table: &'t Csv,
    cells: &'t [String],
}

impl Csv {
    /// Reads a whole text. The first row names the columns; blank lines are left out.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut rows = rows(text.strip_prefix('\u{feff}').unwrap_or(text))?.into_iter();
        let Some(heading) = rows.next() else { bail!("the file is empty; its first line names the columns") };
        let columns: HashMap<String, usize> = heading.iter().enumerate().map(|(place, name)| (name.trim().to_lowercase(), place)).collect();
        let rows: Vec<Vec<String>> = rows.collect();
        for (number, row) in rows.iter().enumerate() {
            if row.len() != heading.len() {
                bail!("row {} has {} fields and the heading {}", number + 2, row.len(), heading.len());
            }
        }
        Ok(Self { columns, rows })
    }

    /// Whether there is such a column.
    pub(crate) fn has(&self, column: &str) -> bool {
        self.columns.contains_key(column)
    }

    /// The rows below the heading.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|cells| Row { table: self, cells })
    }
}

impl<'t> Row<'t> {
    /// The field of the first of these columns that is there; empty if none is.
    pub(crate) fn get(&self, columns: &[&str]) -> &'t str {
        let place = columns.iter().find_map(|column| self.table.columns.get(*column));
        place.map_or("", |place| self.cells[*place].as_str())
    }
}

fn rows(text: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut letters) = (false, text.chars().peekable());
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                cell.push('"');
                letters.next();
            }
            '"' if quoted || cell.is_empty() => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !quoted && letters.peek() == Some(&'\n') => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                end_row(&mut rows, std::mem::take(&mut row));
            }
            other => cell.push(other),
        }
    }
    if quoted {
        bail!("the last quoted field of the file is not closed");
    }
    if !cell.is_empty() || !row.is_empty() {
        row.push(cell);
        end_row(&mut rows, row);
    }
    Ok(rows)
}

/// A line with nothing on it is no row.
fn end_row(rows: &mut Vec<Vec<String>>, row: Vec<String>) {
    if row.len() > 1 || row.first().is_some_and(|only| !only.is_empty()) {
        rows.push(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_line_ends_and_blank_lines_are_read_as_the_standard_says() {
        let csv = Csv::parse("\u{feff}Id,Name\r\n1,\"King, Ada\"\r\n\r\n2,\"a \"\"b\"\"\nc\"\n3,").unwrap();
        let read: Vec<(&str, &str)> = csv.rows().map(|row| (row.get(&["id"]), row.get(&["nothing", "name"]))).collect();
        assert_eq!(read, [("1", "King, Ada"), ("2", "a \"b\"\nc"), ("3", "")]);
        assert!(csv.has("name") && !csv.has("Name"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, wanted) in [("", "empty"), ("a,b\n1\n", "row 2 has 1"), ("a\n\"x", "not closed")] {
            let error = Csv::parse(text).err().unwrap().to_string();
            assert!(error.contains(wanted), "{text:?}: {error}");
        }
    }
}
