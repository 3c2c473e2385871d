//! The end of a run: programs are ended, logs are kept, and the picture is drawn.

use anyhow::Context as _;

use super::{chart, lab::Lab};

impl Lab {
    /// Ends every program; what they lose then is no loss.
    pub fn close(&mut self) {
        self.settle_events();
        for router in &mut self.routers {
            router.measure();
        }
        for index in 0..self.routers.len() {
            self.record.exempt(index);
        }
        for router in &mut self.routers {
            router.crash();
        }
        self.helpers.clear();
        self.control.clear();
    }

    /// Draws what happened, up to `ended_ms`, with a word on how it ended.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn draw(&self, title: &str, word: &str, ended_ms: u64) -> anyhow::Result<()> {
        let subtitle = format!(
            "{word}; seed {}, loss {} %, {}, {}",
            self.options.seed, self.options.loss, self.tree.bird_version, self.tree.frr_version
        );
        let stalls = self.lateness.stalls();
        let chart = chart::chart(
            title,
            &subtitle,
            &chart::Source {
                events: self.record.events(),
                losses: self.record.losses(),
                stalls: &stalls,
                routers: self.routers.len(),
                neighbours: self.routers.len() - self.plan.outsiders - 1,
                protocols: &self.plan.protocols,
                manual: self.manual().map(|key| key.id),
                began_ms: self.began_ms,
                ended_ms,
            },
        );
        let file = self.options.results.join("timeline.svg");
        chart
            .write(&file)
            .with_context(|| format!("{} cannot be written", file.display()))
    }

    /// Copies the logs to the results.
    pub fn keep_logs(&self) {
        for router in &self.routers {
            for log in router.logs() {
                if let Some(name) = log.file_name().and_then(|name| name.to_str()) {
                    let _ = std::fs::copy(&log, self.options.results.join(format!("{}-{name}", router.name)));
                }
            }
        }
    }
}
