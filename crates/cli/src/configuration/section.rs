//! A table of the file, its keys asked for one by one, each wrong one reported with its place.

use std::ffi::OsString;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::findings::Findings;

/// Looks an environment variable up.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<OsString>;

/// What every section is read with.
pub(super) struct Context<'c> {
    /// What is wrong so far.
    pub(super) findings: Findings<'c>,
    /// Where relative paths begin.
    pub(super) directory: &'c Path,
    /// Where secrets may be.
    pub(super) environment: Environment<'c>,
}

/// A table under its path in the file. Every key that was never asked for is unknown.
pub(super) struct Section<'d> {
    path: String,
    table: &'d DeTable<'d>,
    header: Range<usize>,
    known: Vec<&'static str>,
    missing: Vec<(&'static str, String)>,
}

/// A key that is there.
pub(super) struct Field<'d> {
    key: String,
    value: &'d Spanned<DeValue<'d>>,
}

impl<'d> Section<'d> {
    /// The whole file.
    pub(super) fn root(document: &'d Spanned<DeTable<'d>>) -> Self {
        Self {
            path: String::new(),
            table: document.get_ref(),
            header: 0..0,
            known: Vec::new(),
            missing: Vec::new(),
        }
    }

    fn at(path: String, table: &'d DeTable<'d>, header: Range<usize>) -> Self {
        Self { path, table, header, known: Vec::new(), missing: Vec::new() }
    }

    /// The key, if it is there.
    pub(super) fn optional(&mut self, key: &'static str) -> Option<Field<'d>> {
        self.known.push(key);
        self.peek(key)
    }

    /// The key, if it is there, for a look before the section is read.
    pub(super) fn peek(&self, key: &str) -> Option<Field<'d>> {
        let value = self.table.get(key)?;
        Some(Field { key: self.key_path(key), value })
    }

    /// The key, reported if it is missing; `example` is what could be written.
    pub(super) fn required(&mut self, key: &'static str, example: &str) -> Option<Field<'d>> {
        let field = self.optional(key);
        if field.is_none() {
            self.missing(key, format!("is missing; write {key} = {example}"));
        }
        field
    }

    /// Reports an absent key at the head of its section, unless it is there misspelt.
    pub(super) fn missing(&mut self, key: &'static str, message: impl Into<String>) {
        self.missing.push((key, message.into()));
    }

    /// The keys of a table whose keys are free, in alphabetical order.
    pub(super) fn into_fields(self) -> Vec<(&'d str, Field<'d>)> {
        let field = |(key, value): (&'d Spanned<_>, _)| {
            let key: &'d std::borrow::Cow<'d, str> = key.get_ref();
            (&**key, Field { key: self.key_path(key), value })
        };
        self.table.iter().map(field).collect()
    }

    /// Reports the keys that nobody asked for, and those that are missing.
    pub(super) fn finish(self, context: &mut Context<'_>) {
        let mut misspelt = Vec::new();
        for (key, value) in self.table {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            hide(context, value);
            let message = match nearest(name, &self.known) {
                Some(known) => {
                    misspelt.push(known);
                    format!("unknown key; did you mean {known}?")
                }
                None => format!("unknown key; known here are {}", self.known.join(", ")),
            };
            context.findings.add(key.span(), self.key_path(name), message);
        }
        for (key, message) in &self.missing {
            if !misspelt.contains(key) {
                context.findings.add(self.header.clone(), self.key_path(key), message.as_str());
            }
        }
    }

    fn key_path(&self, key: &str) -> String {
        let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let key = if !key.is_empty() && key.chars().all(bare) {
            key.to_owned()
        } else {
            format!("{key:?}")
        };
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }
}

impl<'d> Field<'d> {
    /// Where the value is.
    pub(super) fn span(&self) -> Range<usize> {
        self.value.span()
    }

    /// Reports the value. Always `None`, so that a reader can end with it.
    pub(super) fn refuse<T>(
        &self,
        context: &mut Context<'_>,
        message: impl Into<String>,
    ) -> Option<T> {
        context.findings.add(self.span(), self.key.clone(), message);
        None
    }

    /// Keeps the value out of every excerpt.
    pub(super) fn hide(&self, context: &mut Context<'_>) {
        hide(context, self.value);
    }

    /// The value when it is a string, without a report.
    pub(super) fn as_str(&self) -> Option<&'d str> {
        self.value.get_ref().as_str()
    }

    pub(super) fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    pub(super) fn is_array(&self) -> bool {
        self.value.get_ref().is_array()
    }

    pub(super) fn string(&self, context: &mut Context<'_>) -> Option<&'d str> {
        match self.as_str() {
            Some(text) => Some(text),
            None => self.refuse(context, format!("must be a string, not {}", self.kind())),
        }
    }

    /// A string that `parse` turns into a value or into what is wrong with it.
    pub(super) fn parse<T, E: ToString>(
        &self,
        context: &mut Context<'_>,
        parse: impl FnOnce(&'d str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.string(context)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => self.refuse(context, error.to_string()),
        }
    }

    pub(super) fn boolean(&self, context: &mut Context<'_>) -> Option<bool> {
        match self.value.get_ref().as_bool() {
            Some(value) => Some(value),
            None => self.refuse(context, format!("must be true or false, not {}", self.kind())),
        }
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        self.value.get_ref().as_bool()
    }

    /// A whole number, `None` without a report if the value is of another kind.
    pub(super) fn as_integer(&self) -> Option<i64> {
        let number = self.value.get_ref().as_integer()?;
        i64::from_str_radix(number.as_str(), number.radix()).ok()
    }

    /// A list whose items are read one by one under `KEY[0]`, `KEY[1]`, ….
    pub(super) fn items(&self, context: &mut Context<'_>) -> Option<Vec<Field<'d>>> {
        let Some(array) = self.value.get_ref().as_array() else {
            return self.refuse(context, format!("must be a list, not {}", self.kind()));
        };
        let item = |(index, value)| Field { key: format!("{}[{index}]", self.key), value };
        Some(array.iter().enumerate().map(item).collect())
    }

    /// A section under one pair of brackets, or an inline table.
    pub(super) fn section(&self, context: &mut Context<'_>) -> Option<Section<'d>> {
        match self.value.get_ref() {
            DeValue::Table(table) => Some(Section::at(self.key.clone(), table, self.span())),
            DeValue::Array(_) => {
                let message = format!("is one section: write [{}] with single brackets", self.key);
                self.refuse(context, message)
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {
                self.hide(context);
                self.refuse(context, format!("must be a table, not {}", self.kind()))
            }
        }
    }

    /// The sections under double brackets.
    pub(super) fn sections(&self, context: &mut Context<'_>) -> Vec<Section<'d>> {
        let message = format!("may be there many times: write [[{}]], double brackets", self.key);
        let Some(array) = self.value.get_ref().as_array() else {
            self.hide(context);
            self.refuse::<()>(context, message);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (index, value) in array.iter().enumerate() {
            match value.get_ref().as_table() {
                Some(table) => {
                    let path = format!("{}[{index}]", self.key);
                    sections.push(Section::at(path, table, value.span()));
                }
                None => {
                    hide(context, value);
                    context.findings.add(value.span(), self.key.clone(), message.clone());
                }
            }
        }
        sections
    }

    fn kind(&self) -> &'static str {
        match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "a truth value",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }
}

/// Keeps whatever a value holds out of every excerpt; its keys stay.
fn hide(context: &mut Context<'_>, value: &Spanned<DeValue<'_>>) {
    match value.get_ref() {
        DeValue::Table(table) => table.values().for_each(|value| hide(context, value)),
        DeValue::Array(items) => items.iter().for_each(|value| hide(context, value)),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => context.findings.hide(value.span()),
    }
}

/// The known name that was probably meant: at most every third character differs.
pub(super) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let distance = |known: &str| strsim::osa_distance(&name.to_ascii_lowercase(), known);
    let nearest = known.iter().copied().min_by_key(|known| distance(known))?;
    (distance(nearest) <= 1 + name.chars().count() / 3).then_some(nearest)
}
