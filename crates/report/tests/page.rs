//! Pages are whole, harmless and the same each time.

use bellwether_report::{
    Align, Bars, Card, Chart, Clock, Colour, Layer, Mark, Page, Section, Shape, Table, Tone,
};

const HOSTILE: &str = "</title></svg><script>alert('x')</script>\u{1b}[31m";

fn page(text: &str, values: &[f64]) -> String {
    let chart = |clock| {
        Chart::over_time(text, clock, 1_700_000_000_000, 1_000)
            .about(text)
            .layer(Layer::new(text, Colour::Blue, Shape::Stack, values.to_vec()))
            .layer(Layer::new(text, Colour::Red, Shape::Stack, values.to_vec()))
            .layer(Layer::new(text, Colour::Teal, Shape::Line, values.to_vec()))
            .layer(Layer::new(text, Colour::Amber, Shape::Area, values.to_vec()))
            .layer(Layer::new(text, Colour::Violet, Shape::Step, values.to_vec()))
            .event(Mark::new(1_700_000_001_500.0, text))
            .limit(Mark::new(3.0, text))
    };
    let bars = Bars::new(text, vec![text.to_owned(); values.len()])
        .about(text)
        .layer(Layer::new(text, Colour::Grey, Shape::Stack, values.to_vec()))
        .limit(Mark::new(1.0, text));
    let table = || Table::new([(text, Align::Left), (text, Align::Right)]).row([text, text]);
    let card =
        Card::new(Tone::Bad, text).badge(text).text(text).details(text, table()).advice(text);
    let section = Section::new(text)
        .text(text)
        .chart(chart(Clock::Utc))
        .chart(chart(Clock::SinceStart))
        .bars(bars)
        .table(table())
        .card(card);
    Page::new(text)
        .verdict(Tone::Warning, text)
        .lead(text)
        .fact(text, text)
        .section(section)
        .foot(text)
        .render()
}

#[test]
fn foreign_text_stays_text_wherever_it_stands() {
    let page = page(HOSTILE, &[1.0, 2.0, 0.0, 4.0]);
    assert!(!page.contains("<script") && !page.contains('\u{1b}'));
    // Each picture has its own title, and the page one.
    assert_eq!(page.matches("</svg>").count(), 3);
    assert_eq!(page.matches("<svg").count(), 3);
    for foreign in ["http://", "https://", "src=", "url(", "@import", "<link"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn odd_numbers_make_no_broken_picture() {
    let cases: [&[f64]; 6] =
        [&[], &[0.0], &[f64::NAN, 1.0], &[f64::INFINITY, -3.0], &[1e12, 1.0], &[0.001; 500]];
    for values in cases {
        let page = page("x", values);
        for broken in ["NaN", "inf"] {
            let pictures = page.split("<svg").skip(1).filter_map(|svg| svg.split("</svg>").next());
            let paths = pictures.flat_map(|svg| svg.split(" d=\"").skip(1));
            let mut paths = paths.filter_map(|path| path.split('"').next());
            assert!(!paths.any(|path| path.contains(broken)), "{broken} of {values:?}");
        }
    }
}

#[test]
fn the_same_data_give_the_same_bytes() {
    assert_eq!(page("a", &[1.0, 2.0]), page("a", &[1.0, 2.0]));
}
