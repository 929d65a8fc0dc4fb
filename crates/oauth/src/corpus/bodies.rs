//! Bodies that are whole or broken, long, deep, in odd encodings and under odd media types.

use super::{ACCESS_TOKEN, Case, Expected, REFRESH_TOKEN, filled_in};

const GOOD: &str =
    r#"{"access_token":"@A","token_type":"Bearer","expires_in":60,"refresh_token":"@R"}"#;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = json();
    cases.extend(forms());
    cases.extend(encodings());
    cases.extend(sizes());
    cases.extend(cut());
    cases.extend(no_json());
    cases
}

fn json() -> Vec<Case> {
    let tolerated = [
        ("white space around", format!(" \r\n\t{GOOD}\r\n\r\n")),
        ("NUL bytes behind", format!("{GOOD}\0\0\0")),
        ("a trailing comma", GOOD.replace('}', ",}")),
        ("rubbish behind", format!("{GOOD}rubbish")),
        ("HTML behind", format!("{GOOD}<!-- served by node 7 -->")),
        ("a brace behind", format!("{GOOD}}}")),
        ("a second object behind", format!(r#"{GOOD}{{"error":"invalid_grant"}}"#)),
        ("a semicolon behind", format!("{GOOD};")),
        ("indented", GOOD.replace(',', ",\n    ").replace(':', " : ")),
    ];
    let unusable = [
        ("an empty object", "{}".to_owned()),
        ("null", "null".to_owned()),
        ("true", "true".to_owned()),
        ("a number", "42".to_owned()),
        ("a string", "\"@A\"".to_owned()),
        ("an empty list", "[]".to_owned()),
        ("a comma missing", GOOD.replace(",\"token_type", "\"token_type")),
        ("a colon missing", GOOD.replace("\"expires_in\":", "\"expires_in\" ")),
        ("a quote missing", GOOD.replace("Bearer\"", "Bearer")),
        ("a value missing", GOOD.replace("60", "")),
        ("a name without quotes", GOOD.replace("\"expires_in\"", "expires_in")),
        ("a comment", GOOD.replace("\"expires_in\"", "/* seconds */ \"expires_in\"")),
        ("brackets that do not match", GOOD.replace("60", "[60}")),
        ("an open list", GOOD.replace("60", "[60")),
        ("two commas", GOOD.replace("60,", "60,,")),
        ("an equals sign", GOOD.replace("\"expires_in\":", "\"expires_in\"=")),
        ("an open brace alone", "{".to_owned()),
        ("a closing brace alone", "}".to_owned()),
        ("open braces", "{{{{".to_owned()),
    ];
    let mut cases = Vec::new();
    for (name, body) in tolerated {
        cases.push(Case::token(format!("JSON: {name}"), &body, Some(60)).keeps(true));
    }
    for (name, body) in unusable {
        cases.push(Case::unusable(format!("JSON: {name}"), &body));
    }
    cases.push(Case::unusable("JSON: the object in a list", &format!("[{GOOD}]")).keeps(false));
    cases
}

fn forms() -> Vec<Case> {
    let body = "access_token=@A&token_type=bearer&expires_in=60&refresh_token=@R";
    let mut cases: Vec<Case> = [
        ("as announced", crate::CONTENT_TYPE),
        ("with a charset", "application/x-www-form-urlencoded; charset=utf-8"),
        ("as plain text", "text/plain"),
        ("as HTML", "text/html"),
        ("as JSON", "application/json"),
        ("without a media type", ""),
    ]
    .into_iter()
    .map(|(name, media_type)| {
        let case = Case::token(format!("form {name}"), body, Some(60));
        case.content_type(media_type).keeps(true)
    })
    .collect();
    #[rustfmt::skip]
    let tokens = [
        ("with a line feed", "access_token=@A&expires_in=60&refresh_token=@R\n", true),
        ("in another order", "refresh_token=@R&expires_in=60&access_token=@A", true),
        ("with percent escapes", "access%5Ftoken=%61t@A&expires_in=%36%30", false),
        ("with empty pairs", "&&access_token=@A&&expires_in=60&=&refresh_token=", false),
        ("with a parameter twice", "access_token=&expires_in=60&access_token=@A", false),
    ];
    for (name, body, keeps) in tokens {
        let body = body.replace("%61t@A", &ACCESS_TOKEN.replacen('a', "%61", 1));
        cases.push(Case::token(format!("form {name}"), &body, Some(60)).form().keeps(keeps));
    }
    #[rustfmt::skip]
    let unusable = [
        ("with an empty token", "access_token=&refresh_token=@R", true),
        ("with a space in the token", "access_token=@A+@A&refresh_token=@R", true),
        ("with CR LF in the token", "access_token=@A%0D%0AX:1&refresh_token=@R", true),
        ("with bytes that are no text", "access_token=%ff%fe@A&refresh_token=@R", true),
        ("with a refresh token alone", "refresh_token=@R", true),
        ("with other parameters alone", "ok=1&token=@A", false),
    ];
    for (name, body, keeps) in unusable {
        cases.push(Case::unusable(format!("form {name}"), body).form().keeps(keeps));
    }
    cases.push(
        Case::error(
            "form of another token type",
            200,
            "access_token=@A&token_type=mac",
            "unsupported_token_type",
        )
        .form(),
    );
    cases.push(
        Case::error(
            "form with an error",
            200,
            "error=bad_verification_code&error_description=x",
            "other",
        )
        .form(),
    );
    cases.push(
        Case::error("form with invalid_grant", 400, "error=invalid_grant", "invalid_grant").form(),
    );
    cases
}

fn encodings() -> Vec<Case> {
    let good = filled_in(GOOD);
    let utf16 = |mark: bool, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        let mark = mark.then_some(0xfeff);
        mark.into_iter().chain(good.encode_utf16()).flat_map(bytes).collect()
    };
    let mut marked = b"\xef\xbb\xbf".to_vec();
    marked.extend(good.bytes());
    let latin = |place: &str, bytes: &[u8]| -> Vec<u8> {
        let at = good.find(place).unwrap_or(0);
        [&good.as_bytes()[..at], bytes, &good.as_bytes()[at..]].concat()
    };
    let case = |name: &str| Case::token(format!("encoding: {name}"), GOOD, Some(60));
    let unusable = |name: &str| Case::unusable(format!("encoding: {name}"), GOOD);
    vec![
        case("a byte order mark").bytes(marked),
        case("UTF-16, low byte first, with a mark").bytes(utf16(true, u16::to_le_bytes)),
        case("UTF-16, high byte first, with a mark").bytes(utf16(true, u16::to_be_bytes)),
        case("UTF-16, low byte first").bytes(utf16(false, u16::to_le_bytes)),
        case("UTF-16, high byte first").bytes(utf16(false, u16::to_be_bytes)),
        case("Latin-1 in another member")
            .bytes(latin("\"expires_in", b"\"x\":\"caf\xe9\","))
            .content_type("application/json; charset=iso-8859-1"),
        unusable("Latin-1 in the access token").bytes(latin("at.", b"\xe9")),
        case("Latin-1 in the refresh token").bytes(latin("rt!", b"\xe9")).keeps(false),
        unusable("an odd number of bytes in UTF-16")
            .bytes(utf16(true, u16::to_le_bytes).split_last().map_or(vec![], |(_, b)| b.to_vec())),
        unusable("UTF-32")
            .bytes(good.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect::<Vec<u8>>())
            .keeps(false),
        unusable("gzip").bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\x56\x4a".to_vec()).keeps(false),
        unusable("bytes that are no text").bytes(vec![0xff, 0x00, 0x80, 0xc0]).keeps(false),
        unusable("all byte values").bytes((0..=255).collect::<Vec<u8>>()).keeps(false),
        case("half a character in the refresh token").bytes(latin("\"}", b"\xe2\x82")).keeps(false),
    ]
}

fn sizes() -> Vec<Case> {
    let padded = |size: usize| GOOD.replace("60,", &format!("60,\"x\":\"{}\",", "x".repeat(size)));
    let spaced = |size: usize| format!("{GOOD}{}", " ".repeat(size));
    let nested = |depth: usize| {
        let lists = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        GOOD.replace("60,", &format!("60,\"x\":{lists},"))
    };
    let objects = |depth: usize| {
        let objects = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        GOOD.replace("60,", &format!("60,\"x\":{objects},"))
    };
    let open = |text: &str, depth: usize| {
        format!("{{\"refresh_token\":\"@R\",\"x\":{}", text.repeat(depth))
    };
    vec![
        Case::token("size: 60 KiB", &padded(60 * 1024), Some(60)),
        Case::unusable("size: 65 KiB, the refresh token behind", &padded(65 * 1024)).keeps(false),
        Case::unusable("size: 65 KiB of white space behind", &spaced(65 * 1024)),
        Case::unusable(
            "size: 65 KiB of white space ahead",
            &format!("{}{GOOD}", " ".repeat(65 * 1024)),
        )
        .keeps(false),
        Case::unusable("size: 1 MiB", &spaced(1024 * 1024)),
        Case::unusable("size: 1 MiB of one byte", &"a".repeat(1024 * 1024)).plain(),
        Case::token(
            "size: ten thousand members",
            &GOOD.replace("60,", &format!("60,{}", "\"\":0,".repeat(9_000))),
            Some(60),
        ),
        Case::token(
            "size: a long list",
            &GOOD.replace("60,", &format!("60,\"x\":[{}0],", "0,".repeat(30_000))),
            Some(60),
        ),
        Case::token("depth 15", &nested(15), Some(60)),
        Case::token("depth 15 of objects", &objects(15), Some(60)),
        Case::unusable("depth 16", &nested(16)),
        Case::unusable("depth 16 of objects", &objects(16)),
        Case::unusable("depth 1000", &nested(1000)),
        Case::unusable("depth 10000 of objects", &objects(10_000)),
        Case::unusable("depth 30000", &nested(30_000)),
        Case::unusable("depth 60000, never closed", &open("[", 60_000)),
        Case::unusable("depth 12000 of objects, never closed", &open("{\"a\":", 12_000)),
    ]
}

/// A good answer cut at every byte, with the refresh token at either end: it is kept from its last
/// quote on.
fn cut() -> Vec<Case> {
    let first =
        r#"{"refresh_token":"@R","access_token":"@A","token_type":"Bearer","expires_in":60}"#;
    let mut cases = Vec::new();
    for (order, body) in [("last", GOOD), ("first", first)] {
        let whole = filled_in(body);
        let readable = whole.find(REFRESH_TOKEN).unwrap_or(0) + REFRESH_TOKEN.len() + 1;
        for at in 0..whole.len() {
            cases.push(
                Case::unusable(format!("refresh token {order}, cut at byte {at}"), "")
                    .bytes(&whole.as_bytes()[..at])
                    .keeps(at >= readable)
                    .cut_short(),
            );
        }
        cases.push(
            Case::token(format!("refresh token {order}, cut after the end"), body, Some(60))
                .cut_short(),
        );
        let missing = format!("{},\"id_token\":\"eyJhb", &body[..body.len() - 1]);
        cases.push(
            Case::unusable(format!("refresh token {order}, cut in an id_token"), &missing)
                .cut_short(),
        );
    }
    let form = "refresh_token=@R&access_token=@A&expires_in=60";
    cases
        .push(Case::token("form cut in its last value", form, None).form().keeps(true).cut_short());
    let form = "refresh_token=@R&access_token=@A";
    cases.push(Case::unusable("form cut in its access token", form).form().keeps(true).cut_short());
    let form = "access_token=@A&refresh_token=@R";
    cases.push(Case::token("form cut in its refresh token", form, None).form().cut_short());
    cases.push(
        Case::error("an error page cut short", 503, "<html><bo", "unavailable").html().cut_short(),
    );
    cases.push(
        Case::error(
            "an error cut short",
            400,
            r#"{"error":"invalid_grant","error_des"#,
            "invalid_grant",
        )
        .cut_short(),
    );
    cases
}

fn no_json() -> Vec<Case> {
    let page = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>@S</body></html>";
    let mut cases = vec![
        Case::unusable("200 without a body", ""),
        Case::unusable("200 without a body or media type", "").content_type(""),
        Case::unusable("200 with white space", " \r\n "),
        Case::unusable("200 with a page", page).html(),
        Case::unusable("200 with a page called JSON", page),
        Case::unusable("200 with a page behind a mark", &format!("\u{feff}{page}")).html(),
        Case::unusable("200 with XML", "<?xml version=\"1.0\"?><token>@A</token>")
            .content_type("application/xml"),
        Case::unusable("200 with plain text", "OK").plain(),
        Case::unusable("200 with the token as plain text", "@A").plain(),
        Case::unusable("200 with a header as plain text", "Bearer @A").plain(),
        Case::unusable("200 with a script", "callback({\"access_token\":\"@A\"})")
            .content_type("application/javascript"),
        Case::unusable("200 with YAML", "access_token: @A\n").content_type("application/yaml"),
        Case::token("200 as HTML with JSON in it", GOOD, Some(60)).html(),
        Case::token("200 as plain text with JSON in it", GOOD, Some(60)).plain(),
        Case::token("200 without a media type with JSON in it", GOOD, Some(60)).content_type(""),
        Case::token("200 as JSON of a vendor", GOOD, Some(60))
            .content_type("application/vnd.example.v1+json;charset=UTF-8"),
        Case::token("200 as bytes", GOOD, Some(60)).content_type("application/octet-stream"),
    ];
    for status in [201, 202, 203, 206] {
        let name = format!("{status} with the token");
        cases.push(Case::new(name, status, GOOD, Expected::Token { expires_in: Some(60) }));
    }
    for status in [201, 202, 204, 205] {
        cases.push(Case::error(format!("{status} without a body"), status, "", "unusable"));
    }
    for status in [300, 301, 302, 303, 304, 307, 308] {
        for (target, location) in [
            ("the same origin", "https://login.example.test/other"),
            ("another origin", "https://evil.example.test/oauth/token"),
            ("plain http", "http://login.example.test/oauth/token"),
        ] {
            let mut case = Case::error(format!("{status} to {target}"), status, "", "redirected");
            case.location = Some(location);
            cases.push(case);
        }
    }
    cases.push(Case::error("302 with a page", 302, page, "redirected").html());
    cases.push(Case::error("302 with the tokens", 302, GOOD, "redirected"));
    cases
}
