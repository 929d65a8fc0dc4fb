//! `[[caller]]`: who may have which tokens.

use super::secret_source::{self, SourcedSecret};
use super::section::{Context, Field, Section};
use super::{Declared, Named, name};

/// Somebody with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its name in this configuration, and its client identifier at the gateway.
    pub name: String,
    /// 32 to 256 visible ASCII characters.
    pub key: SourcedSecret,
    /// The names of the credentials it may use; at least one.
    pub credentials: Vec<String>,
}

impl Named for Caller {
    fn name(&self) -> &str {
        &self.name
    }
}

/// The caller and its `key`. `None` when something in the section is wrong; then it was reported.
pub(super) fn read<'d>(
    context: &mut Context<'_>,
    mut section: Section<'d>,
    declared: &Declared,
) -> Option<(Caller, Field<'d>)> {
    let name =
        section.required("name", "\"NAME\"").and_then(|field| field.parse(context, name::check));
    let key_field = section.required("key", "{ file = \"PATH\" } or { env = \"NAME\" }");
    let key = key_field.as_ref().and_then(|field| secret_source::read_key(context, field));
    let credentials = section
        .required("credentials", "[\"NAME\", …]")
        .and_then(|field| read_credentials(context, &field, declared));
    section.finish(context);
    let caller = Caller { name: name?.to_owned(), key: key?, credentials: credentials? };
    Some((caller, key_field?))
}

fn read_credentials(
    context: &mut Context<'_>,
    field: &Field<'_>,
    declared: &Declared,
) -> Option<Vec<String>> {
    let items = field.items(context)?;
    if items.is_empty() {
        return field.refuse(context, "is empty; name the credentials that this caller may use");
    }
    let mut credentials: Vec<String> = Vec::new();
    let mut sound = true;
    for item in items {
        match declared.credential(context, &item) {
            Some(name) if credentials.iter().any(|known| known == name) => {
                item.refuse::<()>(context, format!("{name:?} is named twice; remove one"));
                sound = false;
            }
            Some(name) => credentials.push(name.to_owned()),
            None => sound = false,
        }
    }
    sound.then_some(credentials)
}
