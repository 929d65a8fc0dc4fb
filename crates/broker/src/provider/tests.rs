use super::*;

#[test]
fn each_genesys_region_has_its_login_and_api_hosts() {
    #[rustfmt::skip]
    let regions = [
        ("us-east-1",      "mypurecloud.com"),
        ("us-east-2",      "use2.us-gov-pure.cloud"),
        ("us-west-2",      "usw2.pure.cloud"),
        ("ca-central-1",   "cac1.pure.cloud"),
        ("mx-central-1",   "mxc1.pure.cloud"),
        ("sa-east-1",      "sae1.pure.cloud"),
        ("eu-west-1",      "mypurecloud.ie"),
        ("eu-west-2",      "euw2.pure.cloud"),
        ("me-central-1",   "mec1.pure.cloud"),
        ("ap-south-1",     "aps1.pure.cloud"),
        ("ap-southeast-1", "apse1.pure.cloud"),
        ("ap-southeast-2", "mypurecloud.com.au"),
        ("ap-northeast-1", "mypurecloud.jp"),
        ("ap-northeast-2", "apne2.pure.cloud"),
        ("ap-northeast-3", "apne3.pure.cloud"),
        ("eu-central-1",   "mypurecloud.de"),
        ("eu-central-2",   "euc2.pure.cloud"),
        ("eusc-de-east-1", "edee1.eusc-pure.cloud"),
    ];
    let genesys = Provider::named("genesys").unwrap();
    assert_eq!(genesys.regions.len(), regions.len());
    for (name, domain) in regions {
        let expected = Endpoints {
            token_endpoint: Some(format!("https://login.{domain}/oauth/token")),
            authorization_endpoint: Some(format!("https://login.{domain}/oauth/authorize")),
            resource_server: Some(format!("https://api.{domain}")),
        };
        assert_eq!(genesys.endpoints(Some(name)).as_ref(), Ok(&expected), "by name {name}");
        assert_eq!(genesys.endpoints(Some(domain)).as_ref(), Ok(&expected), "by domain {domain}");
    }
}

#[test]
fn each_preset_has_its_facts() {
    const MINUTE: u64 = 60;
    #[rustfmt::skip]
    let presets = [
        // name,        endpoint for all, rotation,         window,                body
        ("genesys",     false, Rotation::Strict,  None,                 false),
        ("salesforce",  false, Rotation::Strict,  None,                 false),
        ("xero",        true,  Rotation::NewPair, Some(30 * MINUTE),    false),
        ("quickbooks",  true,  Rotation::Strict,  None,                 false),
        ("hubspot",     true,  Rotation::None,    None,                 true),
        ("okta",        false, Rotation::NewPair, Some(30),             false),
        ("auth0",       false, Rotation::Strict,  None,                 false),
        ("entra",       false, Rotation::NewPair, Some(24 * 60 * MINUTE), false),
    ];
    assert_eq!(Provider::all().len(), presets.len());
    for (name, endpoint, rotation, window, in_body) in presets {
        let provider = Provider::named(name).unwrap();
        assert_eq!(provider.token_endpoint.is_some(), endpoint, "{name}");
        assert_eq!(provider.rotation, rotation, "{name}");
        assert_eq!(provider.rotation_window, window.map(Duration::from_secs), "{name}");
        assert_eq!(provider.secret_in_body, in_body, "{name}");
    }
}

#[test]
fn no_preset_contradicts_itself() {
    for provider in Provider::all() {
        let name = provider.name;
        assert_eq!(
            provider.rotation_window.is_some(),
            provider.rotation.has_window(),
            "{name}: a window belongs to a class that has one"
        );
        if let (Some(endpoint), Some(path)) = (provider.token_endpoint, provider.token_path) {
            assert!(endpoint.ends_with(path), "{name}: {endpoint} does not end in {path}");
        }
        for region in provider.regions {
            let same = |other: &&Region| other.name == region.name || other.domain == region.domain;
            assert_eq!(provider.regions.iter().filter(same).count(), 1, "{name} {}", region.name);
        }
    }
}

#[test]
fn genesys_limits_requests_by_token_and_refuses_with_400() {
    let genesys = Provider::named("genesys").unwrap();
    assert_eq!(genesys.api_budget, Some(Budget::per_seconds(300, 60)));
    assert_eq!(genesys.api_prefix, Some("/api/"));
    assert_eq!(genesys.verify, Some("/api/v2/tokens/me"));
    assert_eq!(genesys.refusals, Refusals::AlwaysBadRequest);
}

#[test]
fn an_error_names_the_possible_names_closest_first() {
    let named = |name| Provider::named(name).unwrap_err().to_string();
    let region = |provider, region| {
        Provider::named(provider).unwrap().endpoints(region).unwrap_err().to_string()
    };
    #[rustfmt::skip]
    let cases = [
        (named("genesis"),                          "choose genesys, "),
        (named("Okta"),                             "choose okta, "),
        (region("genesys", Some("ap-southeast-3")), "choose ap-southeast-1, ap-southeast-2, "),
        (region("genesys", Some("us-east1")),       "choose us-east-1, us-east-2, "),
        (region("genesys", None),                   "genesys needs a region; choose us-east-1, "),
        (region("xero", Some("us-east-1")),         "xero has no regions; remove the region"),
        (Rotation::parse("sane-pair").unwrap_err().to_string(), "choose same-pair, "),
    ];
    for (message, expected) in cases {
        assert!(message.contains(expected), "{message:?} lacks {expected:?}");
    }
}

#[test]
fn a_rotation_reads_back_what_it_writes() {
    for rotation in Rotation::ALL {
        assert_eq!(Rotation::parse(rotation.as_str()), Ok(rotation));
    }
}
