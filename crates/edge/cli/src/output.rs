//! Output: tables for people, JSON for programs.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

/// `-o`: how results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Tables and sentences.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

impl Format {
    /// Prints `value` as JSON or as its text, to standard output.
    ///
    /// # Errors
    /// What the standard output said, for example that nobody reads it.
    pub fn print(self, value: &(impl Serialize + fmt::Display)) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self {
            Format::Text => writeln!(out, "{value}")?,
            Format::Json => {
                serde_json::to_writer_pretty(&mut out, value)?;
                writeln!(out)?;
            }
        }
        out.flush()
    }
}

/// A table with a head; columns are as wide as their widest cell.
#[derive(Clone, Debug, Default)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column names.
    #[must_use]
    pub fn new(head: &[&str]) -> Table {
        Table {
            head: head.iter().map(|&name| name.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; missing cells stay empty.
    pub fn row<I: IntoIterator<Item = S>, S: Into<String>>(&mut self, cells: I) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.head.iter().map(|cell| cell.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let mut lines = vec![&self.head];
        lines.extend(&self.rows);
        for (i, line) in lines.into_iter().enumerate() {
            let mut text = String::new();
            for (width, cell) in widths.iter().zip(line) {
                text.push_str(&format!("{cell:<width$}  ", width = *width));
            }
            if i > 0 {
                writeln!(f)?;
            }
            f.write_str(text.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["name", "n"]);
        table.row(["a", "100"]);
        table.row(["longer name", "1"]);
        assert_eq!(
            table.to_string(),
            "name         n\na            100\nlonger name  1"
        );
    }
}
