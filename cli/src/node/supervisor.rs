//! Starts the shards, keeps them running, stops them.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};
use vyr_api::Token;
use vyr_core::artifact::TrustKey;

use super::lock::Lock;
use super::{DRAIN, NodeConfig, READY, ShardStart, address};

/// First pause before a dead shard is started again; it doubles up to [`BACK_OFF_MAX`].
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// A shard that lived so long starts with the first pause again.
const STEADY: Duration = Duration::from_secs(10);
/// Longest start of a shard.
const START_TIME_MAX: Duration = Duration::from_secs(30);
/// What a drained shard gets beyond its deadline before it is killed.
const DRAIN_GRACE: Duration = Duration::from_secs(3);
/// Longest path of a Unix socket on Linux, without the terminating NUL.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// mimalloc's option. Committed as a whole, its arenas are backed by huge pages, each of which counts against a shard that uses a
/// few kilobytes of it; committed as it is used, an idle shard has half the memory (`start` in bench/results).
const EAGER_COMMIT: &str = "MIMALLOC_ARENA_EAGER_COMMIT";

enum Event {
    Ready {
        shard: u16,
        life: u16,
    },
    Exited {
        shard: u16,
        life: u16,
        status: std::io::Result<ExitStatus>,
    },
    Signal,
}

/// One shard as the supervisor sees it.
struct Shard {
    number: u16,
    life: u16,
    cpu: Option<usize>,
    process: Option<Process>,
    ready: bool,
    started: Instant,
    back_off: Duration,
    /// When to start it again.
    due: Option<Instant>,
}

struct Process {
    pid: Pid,
    control: ChildStdin,
}

/// This program, by its own name so that `ps` shows it; by the kernel's link to it when its file was
/// replaced by an update.
pub(crate) fn own_program() -> PathBuf {
    std::env::current_exe()
        .ok()
        .filter(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
}

/// Runs a node until it is told to stop.
pub(crate) fn run(mut config: NodeConfig) -> anyhow::Result<ExitCode> {
    address::check(config.listen, config.token_file.is_some())?;
    let _lock = Lock::take(&config.data_dir)?;
    config.data_dir = config
        .data_dir
        .canonicalize()
        .context("cannot resolve the data directory")?;
    check_secrets(&mut config)?;
    prepare_run_dir(&config)?;
    let reserved = address::reserve(config.listen)?;
    config.listen = reserved.address;

    let (events, inbox) = channel();
    // From here on a signal is an event, also while the shards start.
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])
        .context("cannot watch for signals")?;
    let signal_events = events.clone();
    std::thread::spawn(move || {
        for _ in signals.forever() {
            // The node has stopped when nobody listens any more.
            let _ = signal_events.send(Event::Signal);
        }
    });
    let mut supervisor = Supervisor::new(config, events, inbox);
    let outcome = supervisor.supervise();
    supervisor.kill_all();
    outcome
}

/// Finds out now, with a clear message, what every shard would fail on.
fn check_secrets(config: &mut NodeConfig) -> anyhow::Result<()> {
    for path in &mut config.trust_keys {
        *path = path
            .canonicalize()
            .with_context(|| format!("cannot read the trust key {}", path.display()))?;
        let pem = std::fs::read_to_string(&*path)
            .with_context(|| format!("cannot read the trust key {}", path.display()))?;
        TrustKey::from_pem(&pem).with_context(|| format!("the trust key {}", path.display()))?;
    }
    if let Some(path) = &mut config.token_file {
        *path = path
            .canonicalize()
            .with_context(|| format!("cannot read the token file {}", path.display()))?;
        Token::from_file(path).with_context(|| format!("the token file {}", path.display()))?;
    }
    Ok(())
}

fn prepare_run_dir(config: &NodeConfig) -> anyhow::Result<()> {
    let dir = config.run_dir();
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let longest = config.socket(config.shards);
    if longest.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        bail!(
            "the path {} is too long for a Unix socket ({SOCKET_PATH_BYTES_MAX} bytes); give a shorter --data-dir",
            longest.display()
        );
    }
    Ok(())
}

struct Supervisor {
    config: NodeConfig,
    program: PathBuf,
    shards: Vec<Shard>,
    events: Sender<Event>,
    inbox: Receiver<Event>,
    announced: bool,
}

impl Supervisor {
    fn new(config: NodeConfig, events: Sender<Event>, inbox: Receiver<Event>) -> Self {
        let cpus = vyr_shard::cpu::allowed();
        let shards = (0..config.shards)
            .map(|number| Shard {
                number,
                life: 0,
                cpu: (!cpus.is_empty()).then(|| cpus[usize::from(number) % cpus.len()]),
                process: None,
                ready: false,
                started: Instant::now(),
                back_off: BACK_OFF_MIN,
                due: Some(Instant::now()),
            })
            .collect();
        let program = own_program();
        Self {
            config,
            program,
            shards,
            events,
            inbox,
            announced: false,
        }
    }

    fn supervise(&mut self) -> anyhow::Result<ExitCode> {
        loop {
            self.start_due()?;
            match self.next_event() {
                None => {}
                Some(Event::Ready { shard, life }) => self.ready(shard, life),
                Some(Event::Exited {
                    shard,
                    life,
                    status,
                }) => self.exited(shard, life, &status)?,
                Some(Event::Signal) => return self.drain(),
            }
            if !self.announced
                && self
                    .shards
                    .iter()
                    .any(|shard| shard.started.elapsed() > START_TIME_MAX)
            {
                bail!(
                    "a shard did not start within {} s; see the messages above",
                    START_TIME_MAX.as_secs()
                );
            }
        }
    }

    /// The next event, or `None` when a shard is due to be started or looked at.
    fn next_event(&self) -> Option<Event> {
        let now = Instant::now();
        let due = self.shards.iter().filter_map(|shard| shard.due).min();
        let patience = match due {
            Some(due) => due.saturating_duration_since(now),
            None if self.announced => Duration::from_secs(3600),
            None => Duration::from_millis(200),
        };
        self.inbox.recv_timeout(patience).ok()
    }

    fn start_due(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        for shard in &mut self.shards {
            if shard.due.is_some_and(|due| due <= now) {
                shard.due = None;
                start(shard, &self.config, &self.program, &self.events)?;
            }
        }
        Ok(())
    }

    fn ready(&mut self, number: u16, life: u16) {
        let Some(shard) = self.shards.get_mut(usize::from(number)) else {
            return;
        };
        if shard.life != life {
            return;
        }
        shard.ready = true;
        if life > 0 {
            tracing::info!(shard = number, life, "the shard is back");
        }
        if !self.announced && self.shards.iter().all(|shard| shard.ready) {
            self.announced = true;
            println!("http://{}", self.config.listen);
            tracing::info!(
                listen = %self.config.listen,
                shards = self.config.shards,
                data_dir = %self.config.data_dir.display(),
                "the node is ready"
            );
        }
    }

    fn exited(
        &mut self,
        number: u16,
        life: u16,
        status: &std::io::Result<ExitStatus>,
    ) -> anyhow::Result<()> {
        let Some(shard) = self.shards.get_mut(usize::from(number)) else {
            return Ok(());
        };
        if shard.life != life {
            return Ok(());
        }
        let how = match status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        shard.process = None;
        shard.ready = false;
        if !self.announced {
            bail!("shard {number} did not start ({how}); see its message above");
        }
        if shard.started.elapsed() > STEADY {
            shard.back_off = BACK_OFF_MIN;
        }
        tracing::error!(
            shard = number,
            how,
            restart_in_ms = shard.back_off.as_millis(),
            "a shard ended; the tasks it had are lost"
        );
        shard.due = Some(Instant::now() + shard.back_off);
        shard.back_off = (shard.back_off * 2).min(BACK_OFF_MAX);
        shard.life = shard.life.wrapping_add(1);
        Ok(())
    }

    /// Tells every shard to finish, and waits for them.
    fn drain(&mut self) -> anyhow::Result<ExitCode> {
        let deadline = Duration::from_millis(self.config.drain_ms_max);
        tracing::info!(
            deadline_ms = self.config.drain_ms_max,
            "stopping; running tasks may finish"
        );
        for shard in &mut self.shards {
            shard.due = None;
            if let Some(process) = &mut shard.process {
                // A shard that cannot be told has ended already.
                let _ = writeln!(process.control, "{DRAIN}").and_then(|()| process.control.flush());
            }
        }
        let give_up = Instant::now() + deadline + DRAIN_GRACE;
        while self.shards.iter().any(|shard| shard.process.is_some()) {
            let left = give_up.saturating_duration_since(Instant::now());
            match self.inbox.recv_timeout(left) {
                Ok(Event::Exited { shard, .. }) => {
                    if let Some(shard) = self.shards.get_mut(usize::from(shard)) {
                        shard.process = None;
                    }
                }
                Ok(Event::Ready { .. }) => {}
                Ok(Event::Signal) => {
                    bail!("stopped at once by a second signal; running tasks were lost")
                }
                Err(_) => bail!("a shard did not stop in time and was killed"),
            }
        }
        tracing::info!("the node has stopped");
        Ok(ExitCode::SUCCESS)
    }

    fn kill_all(&mut self) {
        for shard in &mut self.shards {
            if let Some(process) = shard.process.take() {
                // It may have ended by itself meanwhile.
                let _ = kill_process(process.pid, Signal::KILL);
            }
        }
        for shard in 0..self.config.shards {
            // A socket that is left behind is removed at the next start.
            let _ = std::fs::remove_file(self.config.socket(shard));
        }
    }
}

/// Starts a shard's process, and a thread that reports on it.
fn start(
    shard: &mut Shard,
    config: &NodeConfig,
    program: &PathBuf,
    events: &Sender<Event>,
) -> anyhow::Result<()> {
    let start = ShardStart {
        node: config.clone(),
        shard: shard.number,
        life: shard.life,
        cpu: shard.cpu,
    };
    let mut child = Command::new(program)
        .arg0("vyr")
        .arg("shard-process")
        // A signal from the terminal is the supervisor's to handle.
        .process_group(0)
        // With it, every error of a guest would cost a backtrace of the host.
        .env("RUST_LIB_BACKTRACE", "0")
        .env(
            EAGER_COMMIT,
            std::env::var_os(EAGER_COMMIT).unwrap_or("0".into()),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start a shard process")?;
    let pid = Pid::from_child(&child);
    let mut control = child.stdin.take().context("the shard's standard input")?;
    let line = serde_json::to_string(&start)?;
    // A shard that ended before it read this is reported by its thread.
    let _ = writeln!(control, "{line}").and_then(|()| control.flush());
    shard.process = Some(Process { pid, control });
    shard.started = Instant::now();
    let (number, life, events) = (shard.number, shard.life, events.clone());
    std::thread::spawn(move || report(child, number, life, &events));
    Ok(())
}

fn report(mut child: Child, shard: u16, life: u16, events: &Sender<Event>) {
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if line == READY {
                // Nobody listens when the node has stopped.
                let _ = events.send(Event::Ready { shard, life });
            }
        }
    }
    let status = child.wait();
    let _ = events.send(Event::Exited {
        shard,
        life,
        status,
    });
}
