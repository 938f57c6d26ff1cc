//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Run signed WebAssembly artifacts as tasks, on one pinned executor per core.
#[derive(Debug, Parser)]
#[command(name = "vyr", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which node to talk to.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// The node: http://HOST:PORT or unix:PATH
    #[arg(
        long,
        global = true,
        env = "VYR_NODE",
        default_value = "http://127.0.0.1:7411",
        value_name = "URL"
    )]
    pub(crate) node: String,
    /// File with the node's bearer token
    #[arg(long, global = true, env = "VYR_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a throw-away node and run the reference workload on real data
    Demo,
    /// Run a Wasm file on the spot, without a node
    Run(Run),
    /// Run a node: a supervisor and one shard process per core
    Node(Node),
    /// Make keys
    Key {
        #[command(subcommand)]
        command: Key,
    },
    /// Store, show, move and remove artifacts
    Artifact {
        #[command(subcommand)]
        command: Artifact,
    },
    /// Submit, observe and cancel tasks
    Task {
        #[command(subcommand)]
        command: Task,
    },
    /// Create, bind, read and write states
    State {
        #[command(subcommand)]
        command: State,
    },
    /// Watch the steps of tasks as they finish
    Traces {
        #[command(subcommand)]
        command: Traces,
    },
    /// Watch the metrics of the shards
    Metrics {
        #[command(subcommand)]
        command: Metrics,
    },
    /// Watch a node: load of its cores, rates, latencies, the slowest tasks; '?' lists the keys
    Top(Top),
    /// Load servers and measure their latency and cost
    Bench {
        #[command(subcommand)]
        command: Bench,
    },
    /// Check what this machine offers to a node
    Doctor(Doctor),
    /// Print a completion script
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Where the disconnected-collector delivers to; 'scripts/collector-outage' starts it
    #[command(hide = true)]
    ReadingsSink(ReadingsSink),
    /// One shard; 'vyr node' starts it
    #[command(hide = true)]
    ShardProcess,
    /// The compiler; a shard starts it
    #[command(hide = true)]
    CompileArtifact { wasm: PathBuf, out: PathBuf },
}

#[derive(Debug, Args)]
pub(crate) struct ReadingsSink {
    /// Address to listen on
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    /// File that keeps what was delivered
    #[arg(long)]
    pub(crate) journal: PathBuf,
    /// Store one in so many batches and answer 500
    #[arg(long, default_value_t = 0)]
    pub(crate) fail_every: u64,
    /// Answer one in so many requests late
    #[arg(long, default_value_t = 0)]
    pub(crate) slow_every: u64,
    /// How late
    #[arg(long, default_value = "1ms", value_parser = milliseconds)]
    pub(crate) slow: u64,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// A WASI 0.2 component or a preview-1 command module
    pub(crate) file: PathBuf,
    /// Arguments of the guest
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,
    /// A host that the guest may call: HOST, HOST:PORT or *.HOST; may repeat
    #[arg(long = "outgoing-host", value_name = "HOST")]
    pub(crate) outgoing_hosts: Vec<vyr_core::artifact::HostPattern>,
    /// A setting that the guest reads through wasi:config; may repeat
    #[arg(long = "config", value_name = "NAME=VALUE", value_parser = environment)]
    pub(crate) config: Vec<(String, String)>,
    /// A name that the guest opens a state by, besides the manifest's; may repeat
    #[arg(long = "state", value_name = "NAME")]
    pub(crate) states: Vec<String>,
    /// Environment of the guest, NAME=VALUE
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = environment)]
    pub(crate) environment: Vec<(String, String)>,
    /// Longest time the guest may run, such as 30s
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    pub(crate) timeout: Option<u64>,
    /// VYR manifest, TOML or JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// auto, io_uring or epoll
    #[arg(long, default_value = "auto")]
    pub(crate) executor: vyr_shard::rt::ExecutorChoice,
}

#[derive(Debug, Args)]
pub(crate) struct Node {
    /// Address to listen on; beyond loopback it needs --token-file [default: 127.0.0.1:7411]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Shard processes: auto (one per CPU) or a number [default: auto]
    #[arg(long, value_name = "auto|N")]
    pub(crate) shards: Option<String>,
    /// Directory of artifacts, compiled code and sockets [default: ~/.local/share/vyr]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Public key whose signatures are accepted; may repeat. Without one, artifacts need no signature
    #[arg(long, value_name = "PEM")]
    pub(crate) trust_key: Vec<PathBuf>,
    /// Where traces and metrics go: an OTLP collector, such as http://127.0.0.1:4318 [default:
    /// $OTEL_EXPORTER_OTLP_ENDPOINT]
    #[arg(long, value_name = "URL")]
    pub(crate) otlp_endpoint: Option<String>,
    /// http/protobuf or grpc [default: http/protobuf]
    #[arg(
        long,
        value_name = "PROTOCOL",
        env = "OTEL_EXPORTER_OTLP_PROTOCOL",
        hide_env_values = true
    )]
    pub(crate) otlp_protocol: Option<vyr_shard::telemetry::Protocol>,
    /// A host that guests may call if their manifest names it: HOST, HOST:PORT, *.HOST or * for all; may
    /// repeat [default: none]
    #[arg(long = "outgoing-host", value_name = "HOST")]
    pub(crate) outgoing_hosts: Vec<vyr_core::artifact::PermittedHost>,
    /// auto, io_uring or epoll [default: auto]
    #[arg(long)]
    pub(crate) executor: Option<vyr_shard::rt::ExecutorChoice>,
    /// Time running tasks get when the node is stopped [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    pub(crate) drain: Option<u64>,
    /// TOML file with the same settings and more; the command line wins
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// File with the token that requests over TCP must carry (from --token-file)
    #[arg(skip)]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Write a new private key to OUT and its public key to OUT.pub
    Generate {
        /// File of the private key; it must not exist
        out: PathBuf,
        /// ecdsa-p256 or ed25519
        #[arg(long, default_value = "ecdsa-p256")]
        algorithm: vyr_core::artifact::Algorithm,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Artifact {
    /// Store a Wasm file
    Put(PutArtifact),
    /// List artifacts
    Ls {
        /// How to print
        #[arg(long, value_enum, default_value_t)]
        output: Format,
    },
    /// Show an artifact
    Inspect {
        /// Digest, first digits of one, NAME, or NAME:TAG
        reference: String,
        /// How to print
        #[arg(long, value_enum, default_value_t)]
        output: Format,
    },
    /// Check an artifact's bytes and signatures anew
    Verify {
        /// Digest, first digits of one, NAME, or NAME:TAG
        reference: String,
    },
    /// Remove an artifact, or untie a name from it
    Rm {
        /// Digest, first digits of one, NAME, or NAME:TAG
        reference: String,
    },
    /// Write an artifact as an OCI image layout
    Export {
        /// Digest, first digits of one, NAME, or NAME:TAG
        reference: String,
        /// Directory to make
        dir: PathBuf,
    },
    /// Take in every artifact of an OCI image layout
    Import {
        /// The layout's directory
        dir: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PutArtifact {
    /// A WASI 0.2 component or a preview-1 command module
    pub(crate) file: PathBuf,
    /// Name to tie to it
    #[arg(long, value_name = "NAME[:TAG]")]
    pub(crate) name: Option<String>,
    /// VYR manifest, TOML or JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// Private key to sign with
    #[arg(long, value_name = "PEM")]
    pub(crate) sign_key: Option<PathBuf>,
    /// Detached signature made elsewhere
    #[arg(long, value_name = "FILE", conflicts_with = "sign_key")]
    pub(crate) signature: Option<PathBuf>,
    /// Store nothing; print the OCI manifest that a signature must be over
    #[arg(long, conflicts_with_all = ["sign_key", "signature"])]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Submit a command task
    Submit(SubmitTask),
    /// List tasks, newest first
    Ls {
        /// Only of this status
        #[arg(long)]
        status: Option<vyr_core::task::Status>,
        /// Only of this artifact
        #[arg(long, value_name = "REF")]
        artifact: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// How to print
        #[arg(long, value_enum, default_value_t)]
        output: Format,
    },
    /// Show a task
    Status {
        /// The task
        id: String,
        /// How to print
        #[arg(long, value_enum, default_value_t)]
        output: Format,
    },
    /// Wait for a task's end; exits with the guest's exit code
    Wait {
        /// The task
        id: String,
        /// How to print
        #[arg(long, value_enum, default_value_t)]
        output: Format,
    },
    /// Print a task's kept output
    Output {
        /// The task
        id: String,
    },
    /// Print a task's log
    Logs {
        /// The task
        id: String,
    },
    /// Cancel a task
    Cancel {
        /// The task
        id: String,
        /// How to print
        #[arg(long, value_enum, default_value_t)]
        output: Format,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SubmitTask {
    /// Digest, first digits of one, NAME, or NAME:TAG
    pub(crate) reference: String,
    /// File to read as the task's input; - is standard input
    #[arg(long, value_name = "FILE|-")]
    pub(crate) input: Option<PathBuf>,
    /// An argument; may repeat
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) argument: Vec<String>,
    /// An environment variable; may repeat
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = environment)]
    pub(crate) environment: Vec<(String, String)>,
    /// A setting that the guest reads through wasi:config, instead of the manifest's; may repeat
    #[arg(long = "config", value_name = "NAME=VALUE", value_parser = environment)]
    pub(crate) config: Vec<(String, String)>,
    /// A state that the guest opens as NAME; may repeat, the first decides the shard
    #[arg(long = "bind", value_name = "STATE=NAME[:ro]")]
    pub(crate) bindings: Vec<vyr_core::state::Binding>,
    /// Longest time the task may run, such as 30s
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    pub(crate) timeout: Option<u64>,
    /// A retry with the same key finds the first task
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Print the output as it comes, and exit with the guest's exit code
    #[arg(long)]
    pub(crate) wait: bool,
    /// More arguments
    #[arg(last = true)]
    pub(crate) arguments: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum State {
    /// Create an empty state and print its id
    Create {
        /// How long it stays after its last binding, such as 60s [default: 0s]
        #[arg(long, value_name = "TIME", value_parser = milliseconds_or_none)]
        linger: Option<u64>,
        /// Bytes it may hold: keys, values and 32 for each key
        #[arg(long, value_name = "N")]
        max_bytes: Option<u64>,
        /// Keys it may hold
        #[arg(long, value_name = "N")]
        max_keys: Option<u64>,
        /// The shard to create it on [default: the one that answers]
        #[arg(long, value_name = "N")]
        shard: Option<u16>,
    },
    /// List states, newest first
    Ls {
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// How to print
        #[arg(long, value_enum, default_value_t)]
        output: Format,
    },
    /// Show a state
    Show {
        /// The state
        id: String,
        /// How to print
        #[arg(long, value_enum, default_value_t)]
        output: Format,
    },
    /// Delete a state, bound or not
    Rm {
        /// The state
        id: String,
    },
    /// Bind a state to a task that waits for its turn
    Bind {
        /// The state
        id: String,
        /// The task
        task: String,
        /// The name that its guest opens
        #[arg(value_name = "NAME[:ro]")]
        name: String,
    },
    /// Print the value of a key
    Get {
        /// The state
        id: String,
        /// The key
        key: String,
    },
    /// Write a key
    Put {
        /// The state
        id: String,
        /// The key
        key: String,
        /// The value [default: standard input]
        value: Option<String>,
        /// File with the value
        #[arg(long, value_name = "FILE", conflicts_with = "value")]
        file: Option<PathBuf>,
    },
    /// Delete a key
    Delete {
        /// The state
        id: String,
        /// The key
        key: String,
    },
    /// List the keys of a state
    Keys {
        /// The state
        id: String,
        /// How to print
        #[arg(long, value_enum, default_value_t)]
        output: Format,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Traces {
    /// Print spans of all shards as they finish
    Stream(StreamTraces),
}

#[derive(Debug, Args)]
pub(crate) struct StreamTraces {
    /// Only of this task; ends with a picture of its steps when the task has ended
    #[arg(long, value_name = "ID")]
    pub(crate) task: Option<String>,
    /// Only of this artifact
    #[arg(long, value_name = "REF")]
    pub(crate) artifact: Option<String>,
    /// How to print; json is one span a line, in OTLP's encoding
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Metrics {
    /// Print a line for each interval and shard
    Stream(StreamMetrics),
}

#[derive(Debug, Args)]
pub(crate) struct StreamMetrics {
    /// Only of this shard
    #[arg(long, value_name = "N")]
    pub(crate) shard: Option<u16>,
    /// Time between two lines, 100ms to 60s
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = interval)]
    pub(crate) interval: u64,
    /// Write each interval's histograms as an HdrHistogram interval log, version 1.3, in nanoseconds
    ///
    /// Save it to a file with the ending .hlog. HdrHistogram's HistogramLogProcessor and
    /// HistogramLogAnalyzer open it, and the readers of HdrHistogram's ports for C, Rust, Go, Python
    /// and JavaScript. A tag names each line's metric, shard and labels; histograms without values
    /// are left out.
    #[arg(long, conflicts_with = "output")]
    pub(crate) hdr: bool,
    /// How to print; json is all metrics of a shard a line, as they came
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Time between two pictures, 100ms to 60s
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = interval)]
    pub(crate) interval: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Load one URL and print the latencies
    Load(BenchLoad),
    /// Raise the rate on one URL until the server does not follow any more
    Sweep(BenchSweep),
    /// Measure VYR beside other servers
    Compare(BenchCompare),
    /// Tasks per second on N shards, without HTTP
    Engine(BenchEngine),
    /// Make a page with plots from the results in a directory
    Report {
        /// Where 'vyr bench compare --out' wrote to
        dir: PathBuf,
    },
    /// A server without Wasm to compare with; 'vyr bench compare' starts it
    #[command(hide = true)]
    Serve {
        /// tokio, io_uring or epoll
        #[arg(long)]
        executor: String,
        /// Address to listen on
        #[arg(long)]
        listen: SocketAddr,
    },
    /// One shard of 'vyr bench engine'
    #[command(hide = true)]
    EngineShard(EngineShard),
}

#[derive(Debug, Args)]
pub(crate) struct BenchLoad {
    /// http://HOST:PORT/PATH or unix:SOCKET:/PATH
    pub(crate) url: vyr_bench::Url,
    /// Requests per second (open loop)
    #[arg(long, required_unless_present = "closed", conflicts_with = "closed", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// How long; with --closed, --requests decides
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = milliseconds)]
    pub(crate) duration: u64,
    /// Connections, each with one request under way
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) connections: u16,
    /// Random arrivals instead of equal distances
    #[arg(long, conflicts_with = "closed")]
    pub(crate) poisson: bool,
    /// Closed loop: send when the last request is answered
    #[arg(long)]
    pub(crate) closed: bool,
    /// Requests of a closed loop
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) requests: u64,
    /// Load for so long before, without counting
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = milliseconds)]
    pub(crate) warm_up: u64,
    /// When a request has failed
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = milliseconds)]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) request: BenchRequest,
    /// Processor of the generator; without it the system chooses
    #[arg(long, value_name = "N")]
    pub(crate) cpu: Option<usize>,
    /// Directory for .hgrm files
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

/// What is sent.
#[derive(Debug, Args)]
pub(crate) struct BenchRequest {
    /// Method [default: GET, or POST with --body]
    #[arg(long)]
    pub(crate) method: Option<String>,
    /// File with the body
    #[arg(long, value_name = "FILE")]
    pub(crate) body: Option<PathBuf>,
    /// A header, NAME: VALUE; may repeat
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub(crate) headers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BenchSweep {
    /// http://HOST:PORT/PATH or unix:SOCKET:/PATH
    pub(crate) url: vyr_bench::Url,
    /// The first rate, requests per second
    #[arg(long, default_value = "1000", value_parser = rate)]
    pub(crate) from: f64,
    /// Each rate is so many times the last one
    #[arg(long, default_value = "1.25", value_parser = factor)]
    pub(crate) factor: f64,
    /// How long each rate is held
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = milliseconds)]
    pub(crate) duration: u64,
    /// Connections
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) connections: u16,
    #[command(flatten)]
    pub(crate) request: BenchRequest,
    /// Processor of the generator; without it the system chooses
    #[arg(long, value_name = "N")]
    pub(crate) cpu: Option<usize>,
    /// File for the points (JSON)
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
pub(crate) struct BenchCompare {
    /// Fewer and shorter repeats
    #[arg(long)]
    pub(crate) quick: bool,
    /// Print the results as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Run this scenario only; may repeat
    #[arg(long, value_name = "NAME")]
    pub(crate) scenario: Vec<String>,
    /// Directory for compare.json and .hgrm files
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct BenchEngine {
    /// Shard processes, each on a processor of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) shards: u16,
    /// How long
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = milliseconds)]
    pub(crate) duration: u64,
    /// The guest: an HTTP component [default: hello, which is built in]
    #[arg(long, value_name = "FILE")]
    pub(crate) guest: Option<PathBuf>,
    /// Do not count system calls, which takes runs of their own
    #[arg(long)]
    pub(crate) skip_calls: bool,
    /// Print the results as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EngineShard {
    /// The processor
    #[arg(long)]
    pub(crate) cpu: usize,
    /// How long, milliseconds
    #[arg(long)]
    pub(crate) duration: u64,
    /// The guest
    #[arg(long)]
    pub(crate) guest: PathBuf,
    /// Stop after so many tasks
    #[arg(long)]
    pub(crate) tasks_max: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The data directory to check [default: ~/.local/share/vyr]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

fn environment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("give NAME=VALUE".into()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate: &f64| rate.is_finite() && *rate > 0.0)
        .ok_or_else(|| "give requests per second above 0".into())
}

fn factor(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|factor: &f64| factor.is_finite() && *factor > 1.0)
        .ok_or_else(|| "give a number above 1".into())
}

fn header(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((name, value)) if !name.is_empty() && !text.contains(['\r', '\n']) => {
            Ok(format!("{name}: {}\r\n", value.trim()))
        }
        _ => Err("give NAME: VALUE".into()),
    }
}

fn interval(text: &str) -> Result<u64, String> {
    milliseconds(text)
        .ok()
        .filter(|ms| (100..=60_000).contains(ms))
        .ok_or_else(|| "give a time from 100ms to 60s".into())
}

fn milliseconds(text: &str) -> Result<u64, String> {
    let ms = milliseconds_or_none(text)?;
    if ms == 0 {
        return Err("give a time longer than none, such as 30s".into());
    }
    Ok(ms)
}

fn milliseconds_or_none(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let each = match unit {
        "ms" => Some(1),
        "" | "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let value = each.and_then(|each| number.parse::<u64>().ok()?.checked_mul(each));
    value.ok_or_else(|| "give a number and ms, s, m or h, such as 30s".into())
}
