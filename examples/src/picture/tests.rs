//! Structure: what a reader or a program finds in the file.

use roxmltree::{Document, Node};

use super::*;

/// So many routers over so long, with everything that a picture can have.
fn chart(routers: usize, length_ms: u64) -> Chart {
    let at = |part: u64| 1_000_000 + length_ms * part / 100;
    let mut chart = Chart {
        title: format!("{routers} routers & <others>"),
        subtitle: "drawn by a test".to_owned(),
        from_ms: at(0),
        to_ms: at(100),
        ..Chart::default()
    };
    for (part, text) in [(0, "manual keys"), (20, "automatic keys"), (60, "a crash")] {
        chart
            .phases
            .push(Span::new(at(part), at(part + 20), Class::Phase, text));
    }
    chart
        .phases
        .push(Span::new(at(81), at(82), Class::Stall, "800 ms"));
    chart
        .marks
        .push(Mark::new(at(60), Class::Crash, "r1 is switched off"));
    chart
        .marks
        .push(Mark::new(at(40), Class::Rekey, "rekey asked for"));
    for n in 1..=routers {
        let name = format!("r{n}");
        let mut role = Lane::new(&name, "role");
        role.extend(at(0), at(5), Class::Initial, "");
        role.extend(
            at(5),
            at(60),
            if n == 1 { Class::Gcks } else { Class::Member },
            "",
        );
        role.extend(
            at(60),
            at(100),
            if n == 1 { Class::Down } else { Class::Member },
            "",
        );
        role.marks.push(Mark::new(at(60), Class::Crash, "crash"));
        let mut key = Lane::new(&name, "OSPFv2 key");
        key.extend(at(0), at(20), Class::ManualKey(1), "manual 1");
        for id in 0..20 {
            key.extend(at(20 + 4 * id), at(24 + 4 * id), Class::Key(30 + id as u16), "");
        }
        let mut adjacencies = Lane::new(&name, "adjacencies");
        adjacencies.extend(at(0), at(10), Class::Forming, "1 of 2");
        adjacencies.extend(at(10), at(100), Class::Full, "2 of 2");
        adjacencies
            .marks
            .push(Mark::new(at(70), Class::Lost, "r2 Full to Down"));
        chart.lanes.extend([role, key, adjacencies]);
    }
    chart
}

/// How many elements are of a class.
fn count(svg: &str, class: &str) -> usize {
    let document = Document::parse(svg).unwrap();
    let of_class = |node: &Node<'_, '_>| {
        let classes = node.attribute("class").unwrap_or_default();
        classes.split(' ').any(|one| one == class)
    };
    document.descendants().filter(of_class).count()
}

#[test]
fn each_router_is_a_band_with_its_lanes() {
    for (routers, length) in [(3, 10_000), (8, 60_000), (32, 600_000)] {
        let svg = chart(routers, length).svg();
        assert_eq!(count(&svg, "router"), routers);
        assert_eq!(count(&svg, "lane"), 3 * routers);
        assert_eq!(count(&svg, "key"), 20 * routers);
        assert_eq!(count(&svg, "gcks"), 1);
        assert_eq!(count(&svg, "lost"), routers);
        assert_eq!(count(&svg, "phase"), 3);
        assert_eq!(count(&svg, "stall"), 1);
        for n in 1..=routers {
            assert!(svg.contains(&format!("data-router=\"r{n}\"")));
        }
    }
}

#[test]
fn the_same_chart_makes_the_same_octets() {
    assert_eq!(chart(5, 30_000).svg(), chart(5, 30_000).svg());
}

#[test]
fn events_are_numbered_in_the_order_of_time_and_listed() {
    let svg = chart(3, 10_000).svg();
    // A flag above the plot and one in the list, each.
    assert_eq!(count(&svg, "event"), 4);
    let place = |text: &str| svg.rfind(text).unwrap();
    assert!(place("4.00 s") < place("6.00 s"));
    assert!(svg.contains("rekey asked for") && svg.contains("r1 is switched off"));
}

#[test]
fn text_is_escaped() {
    let svg = chart(3, 10_000).svg();
    assert!(svg.contains("3 routers &amp; &lt;others&gt;"));
    assert!(!svg.contains("<others>"));
}

#[test]
fn everything_lies_within_the_picture() {
    for (routers, length) in [(1, 1), (3, 10_000), (32, 600_000)] {
        let svg = chart(routers, length).svg();
        let document = Document::parse(&svg).unwrap();
        let number =
            |node: Node<'_, '_>, name| node.attribute(name).and_then(|value| value.parse::<f64>().ok());
        let height = number(document.root_element(), "height").unwrap();
        for node in document.descendants() {
            let right = number(node, "x").unwrap_or(0.0) + number(node, "width").unwrap_or(0.0);
            assert!((0.0..=draw::WIDTH).contains(&right), "{node:?}");
            let y = number(node, "y").unwrap_or(0.0);
            assert!((0.0..=height).contains(&y), "{node:?}");
        }
    }
}

#[test]
fn what_is_outside_is_not_drawn_and_empty_is_no_fault() {
    let mut chart = Chart {
        title: "empty".to_owned(),
        ..Chart::default()
    };
    assert_eq!(count(&chart.svg(), "span"), 0);
    let mut lane = Lane::new("r1", "role");
    lane.spans.push(Span::new(0, 10, Class::Gcks, "before"));
    lane.spans.push(Span::new(50, 40, Class::Gcks, "backwards"));
    lane.marks.push(Mark::new(500, Class::Lost, "after"));
    chart.lanes.push(lane);
    (chart.from_ms, chart.to_ms) = (20, 100);
    assert_eq!(count(&chart.svg(), "span"), 0);
    assert_eq!(count(&chart.svg(), "mark"), 0);
}

#[test]
fn a_state_that_goes_on_is_one_span() {
    let mut lane = Lane::new("r1", "role");
    lane.extend(0, 10, Class::Member, "");
    lane.extend(10, 20, Class::Member, "");
    lane.extend(30, 40, Class::Member, "");
    assert_eq!(lane.spans.len(), 2);
    assert_eq!(lane.spans[0], Span::new(0, 20, Class::Member, ""));
}

#[test]
fn the_directory_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("one/two/picture.svg");
    chart(3, 10_000).write(&path).unwrap();
    assert!(fs::read_to_string(path).unwrap().starts_with("<?xml"));
}

/// Successive keys must not look alike, also after the colours have come round.
#[test]
fn keys_that_follow_each_other_differ() {
    let chart = chart(3, 10_000);
    let keys = palette::Keys::of(&chart);
    assert_eq!(keys.order().len(), 20);
    for pair in keys.order().windows(2) {
        let [one, other] = [0, 1].map(|at| keys.look(Class::Key(pair[at])).fill);
        assert_ne!(one, other);
    }
}
