//! Hostile callers and hostile resource servers: nothing is read two ways, nobody gets another's answer.

use std::sync::Arc;

use bellwether_hostile::{
    ANSWER_CASES, Bed, Manner, Origin, Report, answer_cases, answers, corpus, echo, framing,
    scripted,
};
use tokio::runtime::Handle;

use crate::support::{POLLER_KEY, Stage};

async fn judged(origin: Origin, play: impl AsyncFnOnce(&Bed) -> Report) -> Report {
    let url = format!("http://{}/", origin.address).parse().expect("a URL");
    let stage = Stage::configured(|setting| setting.resource_server = Some(url)).await;
    stage.until_held("polling").await;
    let bed = Bed::new(stage.gateway, origin, POLLER_KEY, "polling").await.expect("a good start");
    play(&bed).await
}

fn is_clean(report: &Report, least: usize) {
    assert!(
        report.complaints.is_empty(),
        "{}\n{}",
        report.complaints.len(),
        report.complaints.join("\n")
    );
    assert!(report.total().cases >= least as u64, "{:?}", report.total());
}

#[tokio::test]
async fn no_request_is_read_two_ways() {
    for manner in [Manner::Strict, Manner::Sloppy] {
        let origin =
            Origin::start(manner, Arc::new(echo), Handle::current()).await.expect("a free port");
        let report = judged(origin, async |bed| framing(bed, &corpus::all()).await).await;
        is_clean(&report, 400);
    }
}

#[tokio::test]
async fn no_answer_reaches_another_caller() {
    let cases = answer_cases();
    let origin = Origin::start(Manner::Strict, scripted(&cases), Handle::current())
        .await
        .expect("a free port");
    let report = judged(origin, async |bed| answers(bed, &cases).await).await;
    is_clean(&report, ANSWER_CASES);
}
