//! `[[caller]]`: who may have which tokens, and who that is.

use http::Method;
use toml::value::{Date, Datetime, Offset, Time};

use super::secret_source::{self, SourcedSecret};
use super::section::{Context, Field, Section};
use super::{Declared, Named, name};

/// Somebody with a key, at a certain peer, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its name in this configuration, and its client identifier at the gateway.
    pub name: String,
    /// What it may show. None for a caller that its peer alone makes known.
    pub keys: Vec<CallerKey>,
    /// The number of the user that it runs as.
    pub user: Option<u32>,
    /// DNS names in lower case and URIs, one of which its certificate has.
    pub certificates: Vec<String>,
    /// The names of the credentials it may use; at least one.
    pub credentials: Vec<String>,
    /// The API's paths it may use; `None` for all.
    pub paths: Option<Vec<String>>,
    /// The methods it may use there; `None` for all.
    pub methods: Option<Vec<Method>>,
}

/// One of a caller's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerKey {
    /// 32 to 256 visible ASCII characters.
    pub secret: SourcedSecret,
    /// When it ends, in Unix seconds.
    pub expires: Option<u64>,
}

impl Named for Caller {
    fn name(&self) -> &str {
        &self.name
    }
}

/// Where in the text what other sections depend on was written, if it was.
#[derive(Default)]
pub(super) struct Places<'d> {
    /// One for each key.
    pub(super) keys: Vec<Field<'d>>,
    pub(super) user: Option<Field<'d>>,
    pub(super) certificate: Option<Field<'d>>,
}

/// How a caller may say who it is, for messages.
const WAYS: &str = "key = { file = \"PATH\" }, user = \"NAME\" or certificate = \"NAME\"";
const MOST_KEYS: usize = 16;

/// The caller and its places. `None` when something in the section is wrong; then it was reported.
pub(super) fn read<'d>(
    context: &mut Context<'_>,
    mut section: Section<'d>,
    declared: &Declared,
) -> Option<(Caller, Places<'d>)> {
    let name =
        section.required("name", "\"NAME\"").and_then(|field| field.parse(context, name::check));
    let mut places = Places::default();
    let (one, several) = (section.optional("key"), section.optional("keys"));
    let keys = match (one, several) {
        (Some(_), Some(several)) => {
            several.refuse(context, "stands beside key; put that key into the list and remove key")
        }
        (Some(field), None) => read_key(context, &field).map(|key| {
            places.keys.push(field);
            vec![key]
        }),
        (None, Some(field)) => read_keys(context, &field, &mut places.keys),
        (None, None) => Some(Vec::new()),
    };
    places.user = section.optional("user");
    let user = read_optional(places.user.as_ref(), |field| read_user(context, field));
    places.certificate = section.optional("certificate");
    let certificates =
        read_optional(places.certificate.as_ref(), |field| read_certificates(context, field));
    if keys.as_ref().is_some_and(Vec::is_empty)
        && places.user.is_none()
        && places.certificate.is_none()
    {
        section
            .missing("key", format!("is missing, and nothing else says who this is; write {WAYS}"));
    }
    let credentials = section
        .required("credentials", "[\"NAME\", …]")
        .and_then(|field| read_credentials(context, &field, declared));
    let paths = section.optional("paths");
    let paths = read_optional(paths.as_ref(), |field| read_list(context, field, parse_path));
    let methods = section.optional("methods");
    let methods = read_optional(methods.as_ref(), |field| read_list(context, field, parse_method));
    section.finish(context);
    let caller = Caller {
        name: name?.to_owned(),
        keys: keys?,
        user: user?,
        certificates: certificates?.unwrap_or_default(),
        credentials: credentials?,
        paths: paths?,
        methods: methods?,
    };
    Some((caller, places))
}

/// `Some(None)` for what is not there; `None` for what is wrong.
fn read_optional<'d, T>(
    field: Option<&Field<'d>>,
    read: impl FnOnce(&Field<'d>) -> Option<T>,
) -> Option<Option<T>> {
    match field {
        Some(field) => read(field).map(Some),
        None => Some(None),
    }
}

fn read_key(context: &mut Context<'_>, field: &Field<'_>) -> Option<CallerKey> {
    let (secret, rest) = secret_source::read_key_and(context, field, "expires")?;
    let expires = read_optional(rest.as_ref(), |field| {
        field.parse(context, parse_expiry).map(|end| end.as_secs())
    })?;
    Some(CallerKey { secret, expires })
}

/// At least one; where each stands goes to `places`.
fn read_keys<'d>(
    context: &mut Context<'_>,
    field: &Field<'d>,
    places: &mut Vec<Field<'d>>,
) -> Option<Vec<CallerKey>> {
    if !field.is_array() {
        field.hide(context);
        return field.refuse(context, "must be a list: keys = [{ file = \"PATH\" }, …]");
    }
    let items = field.items(context)?;
    if items.is_empty() || items.len() > MOST_KEYS {
        return field
            .refuse(context, format!("has 1 to {MOST_KEYS} keys, this one {}", items.len()));
    }
    let mut keys = Vec::new();
    let mut sound = true;
    for item in items {
        match read_key(context, &item) {
            Some(key) => {
                keys.push(key);
                places.push(item);
            }
            None => sound = false,
        }
    }
    sound.then_some(keys)
}

/// A user by its number, or by the name that this machine knows it by.
fn read_user(context: &mut Context<'_>, field: &Field<'_>) -> Option<u32> {
    if let Some(number) = field.as_integer() {
        return match u32::try_from(number) {
            // The last one stands for "no user" in system calls.
            Ok(number) if number < u32::MAX => Some(number),
            Ok(_) | Err(_) => field.refuse(context, "is no number of a user"),
        };
    }
    let name = field.as_str().map_or_else(
        || field.refuse(context, "must be a user's name or number"),
        |name| Some(name.to_owned()),
    )?;
    match nix::unistd::User::from_name(&name) {
        Ok(Some(user)) => Some(user.uid.as_raw()),
        Ok(None) => field.refuse(
            context,
            format!("no user of this machine is called {name:?}; write its number"),
        ),
        Err(error) => field.refuse(context, format!("users cannot be looked up: {error}")),
    }
}

fn read_certificates(context: &mut Context<'_>, field: &Field<'_>) -> Option<Vec<String>> {
    if field.is_array() {
        return read_list(context, field, parse_certificate);
    }
    field.parse(context, parse_certificate).map(|name| vec![name])
}

/// A list of different things, at least one.
fn read_list<T: PartialEq>(
    context: &mut Context<'_>,
    field: &Field<'_>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Option<Vec<T>> {
    let items = field.items(context)?;
    if items.is_empty() {
        return field.refuse(context, "is empty; remove it, or name at least one");
    }
    let mut all = Vec::new();
    let mut sound = true;
    for item in items {
        match item.parse(context, &parse) {
            Some(one) if all.contains(&one) => {
                item.refuse::<()>(context, "is there twice; remove one");
                sound = false;
            }
            Some(one) => all.push(one),
            None => sound = false,
        }
    }
    sound.then_some(all)
}

/// A name that a certificate may have: a URI, compared as it is, or a DNS name in lower case.
fn parse_certificate(name: &str) -> Result<String, String> {
    let visible =
        !name.is_empty() && name.len() <= 2048 && name.bytes().all(|b| b.is_ascii_graphic());
    if visible && let Some((scheme, rest)) = name.split_once("://") {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !scheme.is_empty() && scheme.bytes().all(word) && !rest.is_empty() && !rest.contains('*')
        {
            return Ok(name.to_owned());
        }
    }
    let label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(allowed)
    };
    if visible && name.len() <= 253 && name.split('.').all(label) {
        return Ok(name.to_ascii_lowercase());
    }
    Err("is no name of a certificate: write a whole DNS name, or a URI like \
         \"spiffe://example.com/poller\""
        .to_owned())
}

/// A path in whole segments, read in one way only.
fn parse_path(path: &str) -> Result<String, String> {
    let example = "write it like \"/api/v2/users\", or \"/api/v2/users/*\" for all below";
    let Some(rest) = path.strip_prefix('/') else {
        return Err(format!("begins with a slash; {example}"));
    };
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) || path.contains(['?', '#', '\\', ';']) {
        return Err(format!("is no path alone; {example}"));
    }
    let segments: Vec<&str> = rest.split('/').collect();
    let (last, above) = segments.split_last().unwrap_or((&"", &[]));
    let literal = |segment: &&str| !segment.is_empty() && !segment.contains('*');
    if !above.iter().all(literal) || (last.contains('*') && *last != "*") {
        return Err(format!("has whole segments, and a * only as the last one; {example}"));
    }
    if segments.iter().any(|segment| matches!(*segment, "." | "..")) {
        return Err(format!("has a segment that goes elsewhere; {example}"));
    }
    Ok(path.to_owned())
}

fn parse_method(method: &str) -> Result<Method, String> {
    let upper = method.to_ascii_uppercase();
    if method != upper {
        return Err(format!("methods have case; write {upper:?}"));
    }
    match Method::from_bytes(method.as_bytes()) {
        Ok(Method::TRACE | Method::CONNECT) => Err("is never passed on; remove it".to_owned()),
        Ok(method) => Ok(method),
        Err(_) => Err("is no method; write it like \"GET\"".to_owned()),
    }
}

/// When a key ends: the beginning of a day (UTC), or an instant (RFC 3339).
fn parse_expiry(text: &str) -> Result<std::time::Duration, String> {
    let wrong =
        || "is no day or time; write it like \"2027-01-31\" or \"2027-01-31T12:00:00Z\"".to_owned();
    let Datetime { date, time, offset } = text.parse().map_err(|_| wrong())?;
    let date = date.ok_or_else(wrong)?;
    let offset_minutes = match (time, offset) {
        (None, None) | (Some(_), Some(Offset::Z)) => 0,
        (Some(_), Some(Offset::Custom { minutes })) => i64::from(minutes),
        // A time without an offset would be another one on each machine.
        (Some(_), None) | (None, Some(_)) => return Err(wrong()),
    };
    let Time { hour, minute, second, .. } =
        time.unwrap_or(Time { hour: 0, minute: 0, second: Some(0), nanosecond: None });
    let of_day = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second.unwrap_or(0));
    let seconds = days(date) * 86_400 + of_day - offset_minutes * 60;
    u64::try_from(seconds).map(std::time::Duration::from_secs).map_err(|_| wrong())
}

/// Days since 1970-01-01 in the Gregorian calendar, with years that begin in March so that a leap day
/// is the last.
fn days(date: Date) -> i64 {
    let (year, month) = (i64::from(date.year), i64::from(date.month));
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (153 * month + 2) / 5 + i64::from(date.day) - 1 - 719_468
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_key_ends() {
        #[rustfmt::skip]
        let cases = [
            ("1970-01-01",                Some(0)),
            ("2000-02-29",                Some(951_782_400)),
            ("2000-03-01",                Some(951_868_800)),
            ("2027-01-31",                Some(1_801_353_600)),
            ("2027-01-31T12:00:00Z",      Some(1_801_396_800)),
            ("2027-01-31T12:00:00+02:00", Some(1_801_389_600)),
            ("2027-01-31T12:00:00",       None),
            ("12:00:00",                  None),
            ("2027-02-29",                None),
            ("1969-12-31",                None),
            ("31.1.2027",                 None),
            ("",                          None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_expiry(text).ok().map(|end| end.as_secs()), expected, "{text}");
        }
    }

    #[test]
    fn names_paths_and_methods() {
        for name in ["spiffe://example.com/ns/poller", "poller.example.com", "poller"] {
            assert_eq!(parse_certificate(name).as_deref(), Ok(name));
        }
        assert_eq!(parse_certificate("Poller.Example.com").as_deref(), Ok("poller.example.com"));
        for name in ["", "*.example.com", "a b", "a..b", "spiffe://", "://x", "spiffe://x/*", "é"]
        {
            assert!(parse_certificate(name).is_err(), "{name}");
        }
        for path in ["/", "/*", "/a", "/a/", "/a/*", "/a/b%20c"] {
            assert!(parse_path(path).is_ok(), "{path}");
        }
        for path in
            ["", "a", "*", "/a*", "/*/a", "/a//b", "/a/../b", "/a?b", "/a#b", "/a b", "/a;b"]
        {
            assert!(parse_path(path).is_err(), "{path}");
        }
        assert_eq!(parse_method("PATCH"), Ok(Method::PATCH));
        for method in ["get", "", "GE T", "TRACE"] {
            assert!(parse_method(method).is_err(), "{method}");
        }
    }
}
