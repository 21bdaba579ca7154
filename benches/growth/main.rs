//! Does one unit of work cost the same however much there is of it? `cargo bench --bench growth` measures the curves of
//! docs/findings/growth.md: four sizes each, the CPU of a server that does nothing else, per unit.
//!
//! `growth` is the exponent of what all units together cost, by least squares on the logarithms: 1 is a flat curve, 2 is
//! quadratic. The run fails with none; above 1.15 a curve is told again at the end.
//!
//! Arguments: rows (`G3 G15`), to measure these alone; `--quick`: small sizes, to see that it works; `--server PATH`: another
//! build of the server.

mod client;
mod curves;
#[path = "../handshake.rs"]
mod handshake;
mod server;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};

use crate::server::Server;

/// Of the exponent.
const GOAL: f64 = 1.15;

struct Curve {
    /// In docs/findings/growth.md.
    row: &'static str,
    /// With `n` where the size stands.
    what: &'static str,
    sizes: [usize; 4],
    measure: fn(&mut Server, usize) -> Result<Cost>,
}

/// What a server used for so many units.
struct Cost {
    cpu: Duration,
    units: usize,
}

impl Cost {
    fn micros_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.units.max(1) as f64
    }
}

fn main() -> Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut server = PathBuf::from(env!("CARGO_BIN_EXE_letshare-server"));
    if let Some(at) = arguments.iter().position(|argument| argument == "--server") {
        server = arguments.drain(at..).nth(1).context("--server PATH, behind everything else")?.into();
    }
    let is_quick = arguments.iter().any(|argument| argument == "--quick");
    let rows: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    println!("| row | what | n | µs each | growth |\n|---|---|---:|---:|---:|");
    let mut steep = Vec::new();
    for curve in curves::ALL.iter().filter(|curve| rows.is_empty() || rows.iter().any(|row| *row == curve.row)) {
        let sizes = curve.sizes.map(|size| if is_quick { (size / 50).max(5) } else { size });
        let measure = |size: usize| -> Result<(f64, f64)> {
            let cost = (curve.measure)(&mut Server::start(&server)?, size);
            let cost = cost.with_context(|| format!("{}, {} with n = {size}", curve.row, curve.what))?;
            Ok((size as f64, cost.micros_each()))
        };
        let points = sizes.into_iter().map(measure).collect::<Result<Vec<_>>>()?;
        let growth = 1.0 + slope(&points);
        let shown = |figure: fn(&(f64, f64)) -> String| points.iter().map(figure).collect::<Vec<_>>().join(" / ");
        println!(
            "| {} | {} | {} | {} | {growth:.2} |",
            curve.row,
            curve.what,
            shown(|(size, _)| format!("{size:.0}")),
            shown(|(_, micros)| format!("{micros:.1}")),
        );
        if growth > GOAL {
            steep.push(format!("{} {} ({growth:.2})", curve.row, curve.what));
        }
    }
    println!("\nabove {GOAL}: {}", if steep.is_empty() { "none".to_owned() } else { steep.join("; ") });
    Ok(())
}

/// Of the line through the logarithms that is nearest to all points.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let logs = || points.iter().map(|(x, y)| (x.ln(), y.max(f64::MIN_POSITIVE).ln()));
    let (mean_x, mean_y) = logs().fold((0.0, 0.0), |(x, y), (dx, dy)| (x + dx / count, y + dy / count));
    let covariance: f64 = logs().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = logs().map(|(x, _)| (x - mean_x).powi(2)).sum();
    covariance / variance
}
