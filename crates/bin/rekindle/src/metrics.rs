//! What the parts of this program count: all of it is on `docs/metrics.md`.

use base_telemetry::Metric;
use proto_node::CapacityView;

/// Metrics of the node that this process has, which are shown beside the service's own.
pub(crate) fn of_the_node() -> Vec<&'static dyn Metric> {
    node_snapshots::METRICS.to_vec()
}

/// What a node without a gateway counts, in Prometheus' text format.
pub(crate) fn of_a_node_alone(view: &CapacityView) -> String {
    control_service::note(view);
    base_telemetry::exposition(&[control_service::HELD, node_snapshots::METRICS].concat())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Run with `UPDATE_DOCS=1` (`make docs`) it writes the page.
    #[test]
    fn the_page_tells_of_every_metric() {
        let all = [
            control_service::METRICS,
            control_service::HELD,
            &of_the_node(),
        ]
        .concat();
        let page = format!(
            "# Metrics\n\n\
             `GET /_rekindle/metrics` has them in Prometheus' text format (signed like any request where the server has keys);\n\
             `rekindle node --metrics ADDRESS` has at the same path what that node holds and its snapshots.\n\
             Durations are in seconds, sizes in bytes. This page is generated (`make docs`).\n\n{}",
            base_telemetry::page(&all)
        );
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/metrics.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), page);
    }
}
