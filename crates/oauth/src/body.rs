//! The parameters in a body, be it JSON or a form.

use form_urlencoded::parse;
use zeroize::Zeroizing;

use crate::members::{Member, Value, first_text, object};
use crate::remark::Remarks;
use crate::text::{Text, decode};
use crate::{MAX_BODY, Message, Remark, Secret};

/// What a body is, judged by itself: the media type is often wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Empty,
    Object,
    /// Cut short or malformed: what was read stands, what is missing is unknown.
    BrokenObject,
    DeepObject,
    Form,
    /// HTML or XML.
    Markup,
    Other,
}

/// A body as text with the parameters found in it.
pub(crate) struct Body<'a> {
    pub(crate) kind: Kind,
    pub(crate) too_long: bool,
    whole: Text<'a>,
    members: Vec<Member>,
    /// The tokens that the body holds itself: no text may repeat them.
    tokens: Vec<Secret>,
}

impl<'a> Body<'a> {
    pub(crate) fn parse(message: &Message<'a>, remarks: &mut Remarks) -> Self {
        let too_long = message.body.len() > MAX_BODY;
        if too_long {
            remarks.add(Remark::TooLong);
        }
        if message.truncated {
            remarks.add(Remark::CutShort);
        }
        let whole = decode(&message.body[..message.body.len().min(MAX_BODY)], remarks);
        let (kind, members) = parameters(&whole, too_long || message.truncated, remarks);
        remark_on_content_type(message, kind, remarks);
        let tokens = ["access_token", "refresh_token", "id_token"]
            .iter()
            .flat_map(|name| members.iter().filter(|member| member.name.as_str() == *name))
            .filter_map(|member| as_text(&member.value))
            .map(Secret::from)
            .collect();
        Self { kind, too_long, whole, members, tokens }
    }

    /// The last parameter of this name that `read` can make something of.
    pub(crate) fn last<T>(&self, name: &str, read: impl FnMut(&Value) -> Option<T>) -> Option<T> {
        last(&self.members, name, read)
    }

    /// Every parameter of this name.
    pub(crate) fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s Value> {
        let named = self.members.iter().filter(move |member| member.name.as_str() == name);
        named.map(|member| &member.value)
    }

    /// The last text of this name that is not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.members
            .iter()
            .rev()
            .filter(|member| member.name.as_str() == name)
            .find_map(|member| as_text(&member.value))
    }

    /// The text `inner` of the object `outer`.
    pub(crate) fn nested_text(&self, outer: &str, inner: &str) -> Option<&str> {
        self.members.iter().rev().filter(|member| member.name.as_str() == outer).find_map(
            |member| match &member.value {
                Value::Object(members) => members
                    .iter()
                    .filter(|member| member.name.as_str() == inner)
                    .find_map(|member| as_text(&member.value)),
                Value::Null
                | Value::Boolean(_)
                | Value::Number(_)
                | Value::Text(_)
                | Value::List(_)
                | Value::Other => None,
            },
        )
    }

    /// The whole body, for one that has no parameters.
    pub(crate) fn plain(&self) -> &str {
        &self.whole
    }

    /// Whether the parameters speak of an error: `error` says something, or there is a code and no
    /// access token.
    pub(crate) fn is_error(&self) -> bool {
        let said = self.last("error", |value| match value {
            Value::Text(text) => (!text.trim().is_empty()).then_some(()),
            Value::Object(members) => (!members.is_empty()).then_some(()),
            Value::Boolean(true) => Some(()),
            Value::Null
            | Value::Boolean(false)
            | Value::Number(_)
            | Value::List(_)
            | Value::Other => None,
        });
        let coded = || ["code", "errorCode", "error_code"].iter().any(|n| self.text(n).is_some());
        said.is_some() || (self.text("access_token").is_none() && coded())
    }

    /// What was sent and what came: no text may repeat either.
    pub(crate) fn known_secrets<'s>(&'s self, message: &Message<'s>) -> Vec<&'s Secret> {
        message.secrets.iter().copied().chain(&self.tokens).collect()
    }
}

fn as_text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => (!text.is_empty()).then_some(text.as_str()),
        Value::Null
        | Value::Boolean(_)
        | Value::Number(_)
        | Value::List(_)
        | Value::Object(_)
        | Value::Other => None,
    }
}

fn last<T>(members: &[Member], name: &str, read: impl FnMut(&Value) -> Option<T>) -> Option<T> {
    members
        .iter()
        .rev()
        .filter(|member| member.name.as_str() == name)
        .map(|member| &member.value)
        .find_map(read)
}

fn parameters(text: &str, cut: bool, remarks: &mut Remarks) -> (Kind, Vec<Member>) {
    let text = text.trim_start();
    let (kind, members) = match text.bytes().next() {
        None => (Kind::Empty, Vec::new()),
        Some(b'{') => json(text, remarks),
        Some(b'<') => (Kind::Markup, Vec::new()),
        Some(_) => form(text, cut).map_or((Kind::Other, Vec::new()), |members| {
            remarks.add(Remark::FormEncoded);
            (Kind::Form, members)
        }),
    };
    let mut names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        remarks.add(Remark::DuplicateParameter);
    }
    (kind, members)
}

fn json(text: &str, remarks: &mut Remarks) -> (Kind, Vec<Member>) {
    let read = object(text);
    let mut members = read.members;
    if !read.whole {
        remarks.add(Remark::BrokenJson);
        let name = "refresh_token";
        if last(&members, name, |value| as_text(value).map(drop)).is_none()
            && let Some(found) = first_text(text, name)
        {
            let name = Zeroizing::new(name.to_owned());
            members.push(Member { name, value: Value::Text(found) });
        }
        return (Kind::BrokenObject, members);
    }
    if read.too_deep {
        remarks.add(Remark::DeepJson);
        return (Kind::DeepObject, members);
    }
    if !text[read.length..].trim_matches(['\0', ' ', '\t', '\r', '\n']).is_empty() {
        remarks.add(Remark::TrailingBytes);
    }
    (Kind::Object, members)
}

/// A form, if it has a parameter that matters; the last value of one that was cut is not whole.
fn form(text: &str, cut: bool) -> Option<Vec<Member>> {
    let text = text.trim_end();
    let text = if cut { text.rsplit_once('&').map_or("", |(before, _)| before) } else { text };
    let members: Vec<Member> = parse(text.as_bytes())
        .map(|(name, value)| Member {
            name: Zeroizing::new(name.into_owned()),
            value: Value::Text(Zeroizing::new(value.into_owned())),
        })
        .collect();
    let telling = ["access_token", "refresh_token", "error"];
    members.iter().any(|member| telling.contains(&member.name.as_str())).then_some(members)
}

fn remark_on_content_type(message: &Message<'_>, kind: Kind, remarks: &mut Remarks) {
    let media_type = message.content_type.unwrap_or_default().to_ascii_lowercase();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    let fits = match kind {
        Kind::Object | Kind::BrokenObject | Kind::DeepObject => {
            media_type == "application/json" || media_type.ends_with("+json")
        }
        Kind::Form => media_type == crate::CONTENT_TYPE,
        Kind::Empty | Kind::Markup | Kind::Other => true,
    };
    if !fits {
        remarks.add(Remark::ContentType);
    }
}
