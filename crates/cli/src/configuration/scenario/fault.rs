//! `[[fault]]`: what fails, where, and when.

use std::time::Duration;

use bellwether_lifecycle::Timestamp;
use bellwether_simulation::{Effect, Endpoint, Fault};

use super::{LONGEST_RUN, number, one_of, time, whole};
use crate::configuration::section::{Context, Section};

const KINDS: [&str; 6] = ["status", "close", "stall", "lost-answer", "unauthorized", "latency"];
const ENDPOINTS: [&str; 2] = ["token", "api"];

pub(super) fn read(context: &mut Context<'_>, mut section: Section<'_>) -> Option<Fault> {
    let endpoint = section.required("endpoint", "\"token\"").and_then(|field| {
        match field.string(context)? {
            "token" => Some(Endpoint::Token),
            "api" => Some(Endpoint::Api),
            other => field.refuse(context, one_of(other, &ENDPOINTS)),
        }
    });
    let kind = section.required("kind", "\"status\"").and_then(|field| {
        let kind = field.string(context)?;
        match KINDS.iter().find(|known| **known == kind) {
            Some(known) => Some(*known),
            None => field.refuse(context, one_of(kind, &KINDS)),
        }
    });
    let status_field = section.optional("status");
    let retry_after = section.optional("retry_after").and_then(|field| number(context, &field));
    let latency = section
        .optional("latency")
        .and_then(|field| time(context, &field, Duration::ZERO, LONGEST_RUN));
    let from = match section.optional("from") {
        Some(field) => time(context, &field, Duration::ZERO, LONGEST_RUN),
        None => Some(Duration::ZERO),
    };
    let lasts = match section.optional("for") {
        Some(field) => time(context, &field, Duration::from_millis(1), LONGEST_RUN).map(Some),
        None => Some(None),
    };
    let times = section.optional("times").and_then(|field| whole(context, &field, 1, u32::MAX));
    let effect = match kind {
        None => None,
        Some("status") => {
            let status = match &status_field {
                Some(field) => whole(context, field, 200, 599),
                None => {
                    section.missing("status", "is missing; write status = 503");
                    None
                }
            };
            status.and_then(|status| u16::try_from(status).ok()).map(|status| Effect::Answer {
                status,
                retry_after: retry_after.map(|seconds| seconds.to_string()),
                content_type: "application/json".to_owned(),
                body: format!(r#"{{"status":{status}}}"#).into_bytes(),
                processed: false,
            })
        }
        Some("close") => Some(Effect::Close),
        Some("stall") => Some(Effect::Stall { processed: false }),
        Some("lost-answer") => Some(Effect::LostAnswer),
        Some("unauthorized") => Some(Effect::AlwaysUnauthorized),
        Some(_) => {
            if latency.is_none() {
                section.missing("latency", "is missing; write latency = \"2s\"");
            }
            latency.map(Effect::Latency)
        }
    };
    section.finish(context);
    let from = Timestamp::ZERO + from?;
    let until = lasts?.map_or(Timestamp::NEVER, |lasts| from + lasts);
    Some(Fault { from, until, endpoint: endpoint?, effect: effect?, times })
}
