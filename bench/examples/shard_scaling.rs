//! What a task costs on one shard and on two: CPU time of the shard processes per HTTP task with a
//! fresh instance each, both arrangements interleaved in one run.
//!
//! `cargo run --release -p vyr-bench --example shard_scaling -- VYR GUEST.wasm… > RESULT.json`

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use vyr_bench::{ClosedLoop, closed_loop};

const REPEATS: usize = 5;
const REQUESTS: u64 = 40_000;
const CONNECTIONS: usize = 32;
/// Clock ticks of `/proc/PID/stat` per second, which Linux fixes for user space.
const TICKS_PER_SECOND: f64 = 100.0;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Node {
    process: Child,
    address: SocketAddr,
    dir: PathBuf,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let vyr = PathBuf::from(arguments.next().ok_or("give the vyr program and guests")?);
    let mut rows = Vec::new();
    for guest in arguments {
        let mut costs: [Vec<f64>; 2] = Default::default();
        let nodes = [Node::start(&vyr, &guest, 1)?, Node::start(&vyr, &guest, 2)?];
        for node in &nodes {
            node.load(REQUESTS / 10)?;
        }
        for _ in 0..REPEATS {
            for (node, costs) in nodes.iter().zip(&mut costs) {
                costs.push(node.cpu_us_per_task()?);
            }
        }
        for node in nodes {
            node.stop()?;
        }
        let [one, two] = costs.map(median);
        let name = Path::new(&guest)
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        eprintln!(
            "{name}: {one:.1} µs on one shard, {two:.1} µs on two, ratio {:.3}",
            two / one
        );
        rows.push(format!(
            "  {{\"guest\": \"{name}\", \"one_shard_cpu_us_per_task\": {one:.2}, \"two_shards_cpu_us_per_task\": {two:.2}, \"ratio\": {:.3}}}",
            two / one
        ));
    }
    println!("[\n{}\n]", rows.join(",\n"));
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl Node {
    fn start(vyr: &Path, guest: &str, shards: usize) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("vyr-bench-{}-{shards}", std::process::id()));
        let mut process = Command::new(vyr)
            .args([
                "node",
                "--listen",
                "127.0.0.1:0",
                "--shards",
                &shards.to_string(),
                "--data-dir",
            ])
            .arg(&dir)
            .env("VYR_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut url = String::new();
        BufReader::new(process.stdout.take().ok_or("no standard output")?).read_line(&mut url)?;
        let url = url.trim();
        let put = Command::new(vyr)
            .args(["artifact", "put", guest, "--name", "guest", "--node", url])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if !put.success() {
            return Err(format!("{guest} was not put").into());
        }
        let address = url
            .strip_prefix("http://")
            .ok_or("the node did not start")?
            .parse()?;
        Ok(Self {
            process,
            address,
            dir,
        })
    }

    fn load(&self, requests: u64) -> Result<()> {
        let request =
            format!("GET /run/guest/ HTTP/1.1\r\nhost: {}\r\n\r\n", self.address).into_bytes();
        let load = ClosedLoop {
            address: self.address,
            connections: CONNECTIONS,
            requests,
            time_max: Duration::from_secs(120),
        };
        let mut bad = 0;
        let report = closed_loop(
            &load,
            |_| request.clone(),
            |_, answer, _| bad += u64::from(answer.status != 200),
        )?;
        if bad > 0 || !report.failures.is_empty() {
            return Err(format!("{bad} bad answers, {} failures", report.failures.len()).into());
        }
        Ok(())
    }

    fn cpu_us_per_task(&self) -> Result<f64> {
        let before = self.shard_ticks()?;
        self.load(REQUESTS)?;
        let ticks = self.shard_ticks()? - before;
        Ok(ticks as f64 / TICKS_PER_SECOND * 1e6 / REQUESTS as f64)
    }

    /// User and system time of the supervisor's children.
    fn shard_ticks(&self) -> Result<u64> {
        let supervisor = self.process.id().to_string();
        let mut ticks = 0;
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
                continue;
            };
            // The name in parentheses may hold spaces; the fields after it do not.
            let Some((_, fields)) = stat.rsplit_once(')') else {
                continue;
            };
            let fields: Vec<&str> = fields.split_whitespace().collect();
            if fields.get(1) == Some(&supervisor.as_str()) {
                ticks += fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
            }
        }
        Ok(ticks)
    }

    fn stop(mut self) -> Result<()> {
        Command::new("kill")
            .arg(self.process.id().to_string())
            .status()?;
        self.process.wait()?;
        std::fs::remove_dir_all(&self.dir)?;
        Ok(())
    }
}
