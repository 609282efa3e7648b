//! The text of a file of keys, in sections.
//!
//! It has the form of `~/.aws/credentials`, so that a server's file can be a client's too: each section is a key.
//!
//! ```text
//! [alice]
//! aws_access_key_id = AKIDALICE
//! aws_secret_access_key = any text without blanks
//! # more of either, and other settings, which say nothing here, but this one:
//! rekindle_account = 111122223333
//! ```

use std::collections::BTreeSet;
use std::ops::Range;

use crate::AccessKey;

/// Digits of an account.
const ACCOUNT_DIGITS: usize = 12;

/// Where a text is wrong, from line 1 on, and what with it.
pub(crate) type Wrong = (usize, &'static str);

/// A key with the lines of its section, from 0 on.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: AccessKey,
    pub(crate) lines: Range<usize>,
}

/// A section while it is read.
#[derive(Default)]
struct Section {
    name: String,
    line: usize,
    id: Option<String>,
    secret: Option<String>,
    account: Option<String>,
}

impl Section {
    /// Its key, if it has one; its lines end before `end`.
    fn close(self, end: usize) -> Result<Option<Entry>, Wrong> {
        let lines = self.line - 1..end;
        match (self.id, self.secret) {
            (Some(id), Some(secret)) => Ok(Some(Entry {
                key: AccessKey {
                    id,
                    secret,
                    name: self.name,
                    account: self.account,
                },
                lines,
            })),
            (None, None) => Ok(None),
            _ => Err((
                self.line,
                "a key has an aws_access_key_id and an aws_secret_access_key",
            )),
        }
    }
}

/// The keys in a text, in its order.
pub(crate) fn parse(text: &str) -> Result<Vec<Entry>, Wrong> {
    let mut entries = Vec::new();
    let mut section: Option<Section> = None;
    for (line, content) in (1..).zip(text.lines().map(str::trim)) {
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = content
            .strip_prefix('[')
            .and_then(|it| it.strip_suffix(']'))
        {
            let new = Section {
                name: name.trim().to_owned(),
                line,
                ..Section::default()
            };
            if let Some(before) = section.replace(new) {
                entries.extend(before.close(line - 1)?);
            }
            continue;
        }
        let (name, value) = content.split_once('=').ok_or((line, "no 'name = value'"))?;
        let section = section
            .as_mut()
            .ok_or((line, "a setting before the first [section]"))?;
        set(section, name.trim(), value.trim()).map_err(|what| (line, what))?;
    }
    if let Some(last) = section {
        entries.extend(last.close(text.lines().count())?);
    }
    let mut known = BTreeSet::new();
    match entries.iter().find(|entry| !known.insert(&entry.key.id)) {
        Some(twice) => Err((twice.lines.start + 1, "this access key was there before")),
        None => Ok(entries),
    }
}

fn set(section: &mut Section, name: &str, value: &str) -> Result<(), &'static str> {
    let place = match name {
        "aws_access_key_id" => &mut section.id,
        "aws_secret_access_key" => &mut section.secret,
        "rekindle_account" if !is_account(value) => return Err("an account has twelve digits"),
        "rekindle_account" => &mut section.account,
        _ => return Ok(()),
    };
    if value.is_empty() || value.contains(char::is_whitespace) {
        return Err("a key is a text without blanks");
    }
    match place.replace(value.to_owned()) {
        Some(_) => Err("this section has it twice"),
        None => Ok(()),
    }
}

/// Whether a text names an account.
pub(crate) fn is_account(text: &str) -> bool {
    text.len() == ACCOUNT_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A key as a section.
pub(crate) fn written(key: &AccessKey) -> String {
    let account = key.account.as_ref();
    let account = account.map_or(String::new(), |it| format!("rekindle_account = {it}\n"));
    format!(
        "[{}]\naws_access_key_id = {}\naws_secret_access_key = {}\n{account}",
        key.name, key.id, key.secret
    )
}

/// The text without these lines.
pub(crate) fn without(text: &str, lines: &Range<usize>) -> String {
    let kept = text.lines().enumerate();
    kept.filter(|(line, _)| !lines.contains(line))
        .map(|(_, content)| format!("{content}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credentials_file_is_read_as_clients_read_it() {
        let text = "# ours\n[default]\naws_access_key_id = A\naws_secret_access_key=s+/=\nregion = x\n\n\
            [empty]\n[b]\naws_secret_access_key = t\naws_access_key_id = B\nrekindle_account = 111122223333\n";
        let entries = parse(text).unwrap();
        let keys: Vec<_> = entries.iter().map(|entry| &entry.key).collect();
        let pairs: Vec<_> = keys.iter().map(|key| (&*key.id, &*key.secret)).collect();
        assert_eq!(pairs, [("A", "s+/="), ("B", "t")]);
        assert_eq!(keys[0].name, "default");
        assert_eq!(keys[1].account.as_deref(), Some("111122223333"));
        for (wrong, line) in [
            ("aws_access_key_id = A", 1),
            ("[a]\naws_access_key_id = A", 1),
            ("[a]\nnonsense", 2),
            ("[a]\naws_access_key_id = A B", 2),
            ("[a]\naws_access_key_id =", 2),
            ("[a]\naws_access_key_id=A\naws_access_key_id=B", 3),
            ("[a]\nrekindle_account = 12", 2),
            (
                "[a]\naws_access_key_id=A\naws_secret_access_key=1\n[b]\naws_access_key_id=A\naws_secret_access_key=2",
                4,
            ),
        ] {
            assert_eq!(parse(wrong).unwrap_err().0, line, "{wrong}");
        }
    }

    #[test]
    fn what_is_written_is_read_and_can_be_taken_out() {
        let key = |name: &str| AccessKey {
            id: format!("ID{name}"),
            secret: "s".into(),
            name: name.into(),
            account: (name == "b").then(|| "111122223333".into()),
        };
        let (a, b, c) = (key("a"), key("b"), key("c"));
        let text = format!("# head\n{}{}\n{}", written(&a), written(&b), written(&c));
        let entries = parse(&text).unwrap();
        let read: Vec<_> = entries.iter().map(|entry| entry.key.clone()).collect();
        assert_eq!(read, [a.clone(), b, c.clone()]);
        let rest = without(&text, &entries[1].lines);
        assert_eq!(rest, format!("# head\n{}{}", written(&a), written(&c)));
    }
}
