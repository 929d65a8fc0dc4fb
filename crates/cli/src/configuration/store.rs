//! `[store]`: where tokens are kept.

use std::path::{Path, PathBuf};

use super::location;
use super::secret_source::{self, SourcedSecret};
use super::section::{Context, Field, Section};

/// Where tokens are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Which backend, and where.
    pub url: StoreUrl,
    /// What the store is encrypted with; without one a key is made beside the store.
    pub key: Option<SourcedSecret>,
}

/// A backend and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// `memory:`: gone when the process ends.
    Memory,
    /// `sqlite:PATH`: a file that several processes on one machine may share.
    Sqlite(PathBuf),
}

impl StoreUrl {
    /// Reads a store URL; a relative path begins in `directory`. The error holds nothing of the
    /// URL, which may hold a password.
    pub fn parse(text: &str, directory: &Path) -> Result<Self, &'static str> {
        if text == "memory:" {
            return Ok(Self::Memory);
        }
        if let Some(path) = text.strip_prefix("sqlite:") {
            return parse_sqlite(path, directory).map(Self::Sqlite);
        }
        match text.split(':').next() {
            Some("redis" | "rediss" | "postgres" | "postgresql") => {
                Err("this backend is not in this build yet; write \"sqlite:PATH\" or \"memory:\"")
            }
            Some(_) | None => Err("is no store; write \"sqlite:PATH\" or \"memory:\""),
        }
    }
}

/// The path of `sqlite:PATH`, with or without `//` before it.
fn parse_sqlite(path: &str, directory: &Path) -> Result<PathBuf, &'static str> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() {
        return Err("names no file; write it as in \"sqlite:bellwether.db\"");
    }
    if path == ":memory:" {
        return Err("is written \"memory:\" here");
    }
    if path.contains(['?', '#']) || path.chars().any(char::is_control) {
        return Err("is a path alone, without options; remove what follows it");
    }
    if path.ends_with('/') {
        return Err("names a directory; name a file in it, as in \"sqlite:bellwether.db\"");
    }
    Ok(directory.join(path))
}

/// The section and its `url`, if that was written. `None` when the store cannot be told.
pub(super) fn read<'d>(
    context: &mut Context<'_>,
    section: Option<Section<'d>>,
) -> (Option<Store>, Option<Field<'d>>) {
    let Some(mut section) = section else {
        let Some(path) = location::default_store(context.environment) else {
            let message = "is missing and there is no home directory; write [store] and url = \
                           \"sqlite:bellwether.db\"";
            context.findings.add(0..0, "store.url", message);
            return (None, None);
        };
        return (Some(Store { url: StoreUrl::Sqlite(path), key: None }), None);
    };
    let url_field = section.required("url", "\"sqlite:bellwether.db\"");
    let key_field = section.optional("key");
    let url = url_field.as_ref().and_then(|field| read_url(context, field));
    let key = key_field.and_then(|field| secret_source::read_key(context, &field));
    section.finish(context);
    (url.map(|url| Store { url, key }), url_field)
}

/// A string without a password in it, or a source.
fn read_url(context: &mut Context<'_>, field: &Field<'_>) -> Option<StoreUrl> {
    let sourced;
    let text = if field.is_table() {
        sourced = secret_source::read(context, field)?;
        sourced.value.expose()
    } else {
        field.string(context)?
    };
    if !field.is_table() && text.contains('@') && !text.starts_with("sqlite:") {
        field.hide(context);
        let message =
            "may hold a password; it comes from { env = \"NAME\" } or { file = \"PATH\" }";
        return field.refuse(context, message);
    }
    match StoreUrl::parse(text, context.directory) {
        Ok(url) => Some(url),
        Err(message) => {
            field.hide(context);
            field.refuse(context, message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_and_places() {
        let sqlite = |path: &str| Ok(StoreUrl::Sqlite(path.into()));
        #[rustfmt::skip]
        let cases = [
            ("memory:",               Ok(StoreUrl::Memory)),
            ("sqlite:bellwether.db",  sqlite("/etc/bw/bellwether.db")),
            ("sqlite:a/b.db",         sqlite("/etc/bw/a/b.db")),
            ("sqlite:/var/b.db",      sqlite("/var/b.db")),
            ("sqlite:///var/b.db",    sqlite("/var/b.db")),
        ];
        for (text, expected) in cases {
            assert_eq!(StoreUrl::parse(text, Path::new("/etc/bw")), expected, "{text}");
        }
        for text in
            ["", "sqlite:", "sqlite://", "sqlite::memory:", "sqlite:a?mode=ro", "bellwether.db"]
        {
            assert!(StoreUrl::parse(text, Path::new("")).is_err(), "{text:?}");
        }
        for text in ["redis://h", "rediss://h", "postgres://h/db", "postgresql://h/db"] {
            let error = StoreUrl::parse(text, Path::new("")).unwrap_err();
            assert!(error.contains("not in this build yet"), "{text}: {error}");
        }
    }
}
