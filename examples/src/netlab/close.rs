//! The end of a run: programs are ended, the wire is judged, logs are kept, and the picture is drawn.

use anyhow::Context as _;

use super::{
    audit::{Audit, KeyLog},
    chart,
    lab::{BLOCKER_ID, Lab},
    lines::router_of,
};

impl Lab {
    /// Ends every program; what they lose then is no loss. Returns what else is wrong with the run.
    pub fn close(&mut self) -> Vec<String> {
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
        let Some(capture) = self.capture.take() else {
            return Vec::new();
        };
        let mut captured = match capture.stop() {
            Ok(captured) => captured,
            Err(error) => return vec![format!("{error:#}")],
        };
        let is_guest = |address: std::net::IpAddr| {
            router_of(&address.to_string()).is_some_and(|host| self.guests.contains(&host))
        };
        captured.packets.retain(|packet| !is_guest(packet.source));
        let mut always = vec![BLOCKER_ID];
        always.extend(self.manual().map(|key| key.id));
        let count = self.routers.len();
        let audit = Audit::of(&captured, &KeyLog::of(&self.record, &always), |address| {
            let host = router_of(&address.to_string())?;
            usize::from(host).checked_sub(1).filter(|index| *index < count)
        });
        let complaints = audit.complaints(&self.plan.protocols, self.began_ms);
        self.audit = Some(audit);
        complaints
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
