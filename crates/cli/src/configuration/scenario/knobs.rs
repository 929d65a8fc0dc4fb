//! `[knobs]`: what a scenario changes in its profile.

use std::time::Duration;

use bellwether_simulation::{
    ApiLimit, ExpiresIn, Latency, LoginLimit, MinuteMark, Profile, Refusal, Window,
};

use super::{LONGEST_RUN, one_of, time, whole};
use crate::configuration::section::{Context, Field, Section};

const MOST: u32 = 1_000_000_000;
const WINDOWS: [&str; 3] = ["first-request", "aligned", "sliding"];
const REFUSALS: [&str; 4] = ["invalid-request", "access-denied", "too-many-requests", "plain-text"];

pub(super) fn read(context: &mut Context<'_>, mut section: Section<'_>, profile: &mut Profile) {
    if let Some(field) = section.optional("live_tokens_per_client")
        && let Some(cap) =
            unless_none(context, &field, |context, field| whole(context, field, 1, MOST))
    {
        profile.live_tokens_per_client = cap.map(|cap| cap as usize);
    }
    if let Some(field) = section.optional("api_limit")
        && let Some(limit) = unless_none(context, &field, api_limit)
    {
        profile.api_limit = limit;
    }
    if let Some(field) = section.optional("login_limit")
        && let Some(limit) = unless_none(context, &field, login_limit)
    {
        profile.login_limit = limit;
    }
    if let Some(field) = section.optional("minute_mark")
        && let Some(mark) = unless_none(context, &field, minute_mark)
    {
        profile.minute_mark = mark;
    }
    for (key, target) in
        [("token_latency", &mut profile.token_latency), ("api_latency", &mut profile.api_latency)]
    {
        if let Some(found) = section.optional(key).and_then(|field| latency(context, &field)) {
            *target = found;
        }
    }
    if let Some(field) = section.optional("propagation")
        && let Some(found) = time(context, &field, Duration::ZERO, LONGEST_RUN)
    {
        profile.propagation = found;
    }
    if let Some(field) = section.optional("reissue_live_token")
        && let Some(found) = field.boolean(context)
    {
        profile.reissue_live_token = found;
    }
    if let Some(field) = section.optional("expires_in")
        && let Some(found) = expires_in(context, &field)
    {
        profile.expires_in = found;
    }
    section.finish(context);
}

/// `"none"` switches a limit off.
fn unless_none<T>(
    context: &mut Context<'_>,
    field: &Field<'_>,
    read: impl FnOnce(&mut Context<'_>, &Field<'_>) -> Option<T>,
) -> Option<Option<T>> {
    if field.as_str() == Some("none") { Some(None) } else { read(context, field).map(Some) }
}

fn api_limit(context: &mut Context<'_>, field: &Field<'_>) -> Option<ApiLimit> {
    let mut section = field.section(context)?;
    let count =
        section.required("requests", "300").and_then(|field| whole(context, &field, 1, MOST));
    let window = section
        .required("per", "\"60s\"")
        .and_then(|field| time(context, &field, Duration::from_millis(1), LONGEST_RUN));
    let kind = match section.optional("window") {
        None => Some(Window::FirstRequest),
        Some(field) => field.string(context).and_then(|name| match name {
            "first-request" => Some(Window::FirstRequest),
            "aligned" => Some(Window::Aligned),
            "sliding" => Some(Window::Sliding),
            other => field.refuse(context, one_of(other, &WINDOWS)),
        }),
    };
    section.finish(context);
    Some(ApiLimit { count: count?, window: window?, kind: kind? })
}

fn login_limit(context: &mut Context<'_>, field: &Field<'_>) -> Option<LoginLimit> {
    let mut section = field.section(context)?;
    let count =
        section.required("requests", "10").and_then(|field| whole(context, &field, 1, MOST));
    let per = section
        .required("per", "\"1s\"")
        .and_then(|field| time(context, &field, Duration::from_millis(1), LONGEST_RUN));
    let burst = section.required("burst", "20").and_then(|field| whole(context, &field, 1, MOST));
    let refusal = match section.optional("refusal") {
        None => Some(Refusal::InvalidRequest),
        Some(field) => field.string(context).and_then(|name| match name {
            "invalid-request" => Some(Refusal::InvalidRequest),
            "access-denied" => Some(Refusal::AccessDenied),
            "too-many-requests" => Some(Refusal::TooManyRequests),
            "plain-text" => Some(Refusal::PlainText),
            other => field.refuse(context, one_of(other, &REFUSALS)),
        }),
    };
    section.finish(context);
    Some(LoginLimit { count: count?, per: per?, burst: burst?, refusal: refusal? })
}

fn minute_mark(context: &mut Context<'_>, field: &Field<'_>) -> Option<MinuteMark> {
    let mut section = field.section(context)?;
    let after = section
        .required("after", "\"15m\"")
        .and_then(|field| time(context, &field, Duration::ZERO, LONGEST_RUN));
    let length = section
        .required("length", "\"1s\"")
        .and_then(|field| time(context, &field, Duration::ZERO, Duration::from_secs(60)));
    let logins = section.required("logins", "1").and_then(|field| whole(context, &field, 0, MOST));
    section.finish(context);
    Some(MinuteMark { after: after?, length: length?, logins: logins? })
}

fn latency(context: &mut Context<'_>, field: &Field<'_>) -> Option<Latency> {
    let mut section = field.section(context)?;
    let least = section
        .required("least", "\"20ms\"")
        .and_then(|field| time(context, &field, Duration::ZERO, LONGEST_RUN));
    let most = section
        .required("most", "\"60ms\"")
        .and_then(|field| time(context, &field, Duration::ZERO, LONGEST_RUN));
    section.finish(context);
    let (least, most) = (least?, most?);
    if least > most {
        return field.refuse(context, "least must not be above most");
    }
    Some(Latency { least, most })
}

fn expires_in(context: &mut Context<'_>, field: &Field<'_>) -> Option<ExpiresIn> {
    match field.as_str() {
        Some("truthful") => Some(ExpiresIn::Truthful),
        Some("omitted") => Some(ExpiresIn::Omitted),
        Some(_) | None => match field.as_integer().and_then(|number| u64::try_from(number).ok()) {
            Some(seconds) => Some(ExpiresIn::Claimed(seconds)),
            None => {
                let message = "must be \"truthful\", \"omitted\" or a whole number of seconds";
                field.refuse(context, message)
            }
        },
    }
}
