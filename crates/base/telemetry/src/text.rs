//! Metrics as text: for Prometheus (its text exposition format, version 0.0.4), and for people.

use std::fmt::{Display, Write};

use crate::{Kind, Metric};

/// Media type of an [`exposition`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All values of these metrics.
#[must_use]
pub fn exposition(metrics: &[&dyn Metric]) -> String {
    let mut text = String::new();
    for metric in metrics {
        let about = metric.description();
        let (name, suffix, kind) = (about.name, about.suffix, kind(about.kind));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP {name}{suffix} {}", about.help);
        let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
        metric.write_values(&mut text);
    }
    text
}

/// What these metrics mean, as a table in Markdown.
#[must_use]
pub fn page(metrics: &[&dyn Metric]) -> String {
    let mut text = "| metric | kind | labels | what |\n| --- | --- | --- | --- |\n".to_owned();
    for metric in metrics {
        let about = metric.description();
        let labels: Vec<String> = about
            .labels
            .iter()
            .map(|(name, values)| format!("`{name}`: {}", values.join(", ")))
            .collect();
        let _ = writeln!(
            text,
            "| `{}{}` | {} | {} | {} |",
            about.name,
            about.suffix,
            kind(about.kind),
            labels.join("; "),
            about.help
        );
    }
    text
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

/// One value.
pub(crate) fn line(
    text: &mut String,
    (name, suffix): (&str, &str),
    labels: &[String],
    value: impl Display,
) {
    let labels = match labels {
        [] => String::new(),
        labels => format!("{{{}}}", labels.join(",")),
    };
    let _ = writeln!(text, "{name}{suffix}{labels} {value}");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Counter, Gauge, Histogram, label};

    label!(Outcome, "outcome", [Good = "good", Bad = "bad"]);
    label!(
        Place,
        "place",
        [Here = "here", There = "there", Nowhere = "nowhere"]
    );

    #[test]
    fn each_pair_of_labels_is_a_series_of_its_own() {
        static TRIES: Counter<(Outcome, Place), 6> = Counter::new("tries", "Tries.");
        let all = [Place::Here, Place::There, Place::Nowhere];
        for (number, place) in all.into_iter().enumerate() {
            TRIES.add((Outcome::Good, place), number as u64 + 1);
            TRIES.add((Outcome::Bad, place), number as u64 + 10);
        }
        assert_eq!(TRIES.get((Outcome::Bad, Place::There)), 11);
        let text = exposition(&[&TRIES]);
        assert_eq!(
            text,
            "# HELP tries_total Tries.\n# TYPE tries_total counter\n\
             tries_total{outcome=\"good\",place=\"here\"} 1\n\
             tries_total{outcome=\"good\",place=\"there\"} 2\n\
             tries_total{outcome=\"good\",place=\"nowhere\"} 3\n\
             tries_total{outcome=\"bad\",place=\"here\"} 10\n\
             tries_total{outcome=\"bad\",place=\"there\"} 11\n\
             tries_total{outcome=\"bad\",place=\"nowhere\"} 12\n"
        );
    }

    #[test]
    fn buckets_count_what_is_as_short_or_shorter() {
        static TOOK: Histogram<(), 1> = Histogram::new("took_seconds", "How long.");
        for us in [50, 100, 101, 2_000_000, 5_000_000_000] {
            TOOK.observe((), Duration::from_micros(us));
        }
        let text = exposition(&[&TOOK]);
        for line in [
            "took_seconds_bucket{le=\"0.0001\"} 2\n",
            "took_seconds_bucket{le=\"0.00025\"} 3\n",
            "took_seconds_bucket{le=\"1\"} 3\n",
            "took_seconds_bucket{le=\"2.5\"} 4\n",
            "took_seconds_bucket{le=\"900\"} 4\n",
            "took_seconds_bucket{le=\"+Inf\"} 5\n",
            "took_seconds_sum 5002.000251\n",
            "took_seconds_count 5\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn the_page_names_kind_labels_and_help() {
        static THERE: Gauge<Outcome, 2> = Gauge::new("there", "How many there are.");
        THERE.set(Outcome::Good, 3);
        assert!(
            exposition(&[&THERE])
                .ends_with("there{outcome=\"good\"} 3\nthere{outcome=\"bad\"} 0\n")
        );
        assert_eq!(
            page(&[&THERE]).lines().last(),
            Some("| `there` | gauge | `outcome`: good, bad | How many there are. |")
        );
    }
}
