//! Where a secret comes from, so that it can be read again when it changes.

use std::fmt;
use std::path::PathBuf;

use bellwether_oauth::Secret;
use zeroize::Zeroizing;

use super::file::{self, Protection};
use super::section::{Context, Environment, Field};

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file of at most 64 KiB; white space around its content is dropped.
    File {
        /// The file; relative to the working directory or absolute.
        path: PathBuf,
        /// Whether everybody may read it.
        allow_readable: bool,
    },
}

/// A secret and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcedSecret {
    /// Where to read it again.
    pub source: SecretSource,
    /// What it was when the configuration was read.
    pub value: Secret,
}

/// A source gave no secret. Says which and what to do; holds nothing of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretError(String);

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SecretError {}

impl SecretSource {
    /// Reads the secret, whatever it was before.
    pub fn read(&self, environment: Environment<'_>) -> Result<Secret, SecretError> {
        let (text, place) = match self {
            Self::Env(name) => {
                let place = format!("the environment variable {name}");
                let Some(value) = environment(name) else {
                    return Err(SecretError(format!(
                        "{place} is not set; set it, or name another"
                    )));
                };
                let text = value.into_string().map(Zeroizing::new);
                (text.map_err(|_| SecretError(format!("{place} is not UTF-8 text")))?, place)
            }
            Self::File { path, allow_readable } => {
                let protection =
                    if *allow_readable { Protection::ReadableSecret } else { Protection::Secret };
                let text = file::read(path, protection).map_err(SecretError)?;
                (text, path.display().to_string())
            }
        };
        let text = text.trim();
        if text.is_empty() {
            return Err(SecretError(format!("{place} is empty; put the secret there")));
        }
        if text.chars().any(char::is_control) {
            return Err(SecretError(format!(
                "{place} holds more than one line or a control character; put the secret alone there"
            )));
        }
        Ok(Secret::new(text))
    }
}

/// How a secret is written, for messages.
const EXAMPLE: &str = "{ env = \"NAME\" } or { file = \"PATH\" }";

/// Reads where a secret is, and the secret.
pub(super) fn read(context: &mut Context<'_>, field: &Field<'_>) -> Option<SourcedSecret> {
    read_and(context, field, None).map(|(secret, _)| secret)
}

/// The same, and one more key of the table, if it is there.
fn read_and<'d>(
    context: &mut Context<'_>,
    field: &Field<'d>,
    further: Option<&'static str>,
) -> Option<(SourcedSecret, Option<Field<'d>>)> {
    if !field.is_table() {
        field.hide(context);
        let message = format!("secrets are not written here; they come from {EXAMPLE}");
        return field.refuse(context, message);
    }
    let mut section = field.section(context)?;
    let env = section.optional("env");
    let path = section.optional("file");
    let allow_readable = section.optional("allow_readable");
    let further = further.and_then(|key| section.optional(key));
    let chosen = match (&env, &path) {
        (Some(env), None) => env_source(context, env).map(|source| (source, env)),
        (None, Some(path)) => {
            file_source(context, path, allow_readable.as_ref()).map(|source| (source, path))
        }
        (Some(_), Some(_)) => {
            field.refuse(context, format!("has two sources; keep one, {EXAMPLE}"))
        }
        (None, None) => field.refuse(context, format!("has no source; write {EXAMPLE}")),
    };
    if let (Some(flag), None) = (&allow_readable, &path) {
        flag.refuse::<()>(context, "belongs beside file; remove it");
    }
    section.finish(context);
    let (source, place) = chosen?;
    match source.read(context.environment) {
        Ok(value) => Some((SourcedSecret { source, value }, further)),
        Err(error) => place.refuse(context, error.to_string()),
    }
}

/// Reads where a key is, and the key: 32 to 256 visible ASCII characters.
pub(super) fn read_key(context: &mut Context<'_>, field: &Field<'_>) -> Option<SourcedSecret> {
    read(context, field).and_then(|key| checked_key(context, field, key))
}

/// The same, and one more key of the table, if it is there.
pub(super) fn read_key_and<'d>(
    context: &mut Context<'_>,
    field: &Field<'d>,
    further: &'static str,
) -> Option<(SourcedSecret, Option<Field<'d>>)> {
    let (key, further) = read_and(context, field, Some(further))?;
    checked_key(context, field, key).map(|key| (key, further))
}

fn checked_key(
    context: &mut Context<'_>,
    field: &Field<'_>,
    key: SourcedSecret,
) -> Option<SourcedSecret> {
    let length = key.value.len();
    let visible = key.value.expose().bytes().all(|byte| byte.is_ascii_graphic());
    if visible && (32..=256).contains(&length) {
        return Some(key);
    }
    let fault = if visible { format!("has {length}") } else { "has others".to_owned() };
    let message = format!(
        "a key has 32 to 256 visible ASCII characters, this one {fault}; make one with: openssl \
         rand -hex 32"
    );
    field.refuse(context, message)
}

/// A name of another form may well be the secret itself, so it is not shown.
fn env_source(context: &mut Context<'_>, name: &Field<'_>) -> Option<SecretSource> {
    let text = name.string(context)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let digit_first = text.starts_with(|first: char| first.is_ascii_digit());
    if !text.is_empty() && text.bytes().all(allowed) && !digit_first {
        return Some(SecretSource::Env(text.to_owned()));
    }
    name.hide(context);
    name.refuse(
        context,
        "is no name of an environment variable: letters, digits and underscores, no digit first",
    )
}

fn file_source(
    context: &mut Context<'_>,
    path: &Field<'_>,
    allow_readable: Option<&Field<'_>>,
) -> Option<SecretSource> {
    let allow_readable = match allow_readable {
        Some(flag) => flag.boolean(context)?,
        None => false,
    };
    let text = path.string(context)?;
    if text.is_empty() {
        return path.refuse(context, "is empty; name the file that holds the secret");
    }
    Some(SecretSource::File { path: context.directory.join(text), allow_readable })
}
