//! The shard: what the HTTP side and the command line see of everything below.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use vyr_core::artifact::{self, Manifest, PermittedHost, Reference, Store, TrustKeys};
use vyr_core::digest::Digest;
use vyr_core::id::{ShardLife, ShardNumber, StateIdSource, TaskId, TaskIdSource};
use vyr_core::limits::{OutgoingLimits, ShardLimits, TaskLimits};
use vyr_core::metrics::{Counter, Gauge, Snapshot};
use vyr_core::problem::Code;
use vyr_core::state::Binding;
use vyr_core::task::{self, Kind, Status, TaskError, Usage};
use vyr_core::trace::{Exchange, Method, Recent};

use crate::admission::Admission;
use crate::artifact::{CompiledCache, Compiler, Loaded, Loader, Preparer};
use crate::clock;
use crate::engine::Engine;
use crate::error::Error;
use crate::guest::{Client, Config, Control, Pipe, Stop};
use crate::line::Line;
use crate::metrics::Metrics;
use crate::rt;
use crate::state::{Secret, SharedStates, StateError, States, TaskBindings};
use crate::steps::{Arrival, Bind, Hop, Steps};
use crate::submit::{Submissions, Submit, check_arguments, check_environment};
use crate::task::{
    BodyError, Command, NewTask, ResponseBody, Table, Task, TaskOutput, Watch, run_command,
    run_http, unix_ms_of,
};
use crate::telemetry::{EventTotals, ExportTotals, TelemetryConfig};
use crate::ticker::Ticker;

/// Name of the artifact store below the data directory.
const STORE_DIR: &str = "artifacts";
/// Name of the directory of compiled code below the data directory.
const COMPILED_DIR: &str = "compiled";
/// How often what is too old is let go of, and stalls are looked for.
const HOUSEKEEPING_PERIOD: Duration = Duration::from_secs(1);

/// What a shard is made of.
#[derive(Debug, Clone)]
pub struct ShardConfig {
    /// Its number on the node.
    pub number: ShardNumber,
    /// How often its process was restarted.
    pub life: ShardLife,
    /// The directory that holds store and compiled code.
    pub data_dir: PathBuf,
    /// How artifacts are compiled.
    pub compiler: Compiler,
    /// Whose signatures are accepted; when empty, artifacts need none.
    pub trust_keys: TrustKeys,
    /// The shard's bounds.
    pub limits: ShardLimits,
    /// The most a task may be granted.
    pub task_cap: TaskLimits,
    /// Where traces and metrics go, if anywhere.
    pub otlp_endpoint: Option<String>,
    /// What of them, and how.
    pub telemetry: TelemetryConfig,
    /// The hosts that guests may call if their manifests name them.
    pub outgoing_hosts: Vec<PermittedHost>,
    /// The bounds of guests' calls to other hosts.
    pub outgoing_limits: OutgoingLimits,
}

impl ShardConfig {
    /// A shard by itself: no signatures are asked for, no telemetry is sent, no host may be called, and the bounds are
    /// the defaults.
    #[must_use]
    pub fn alone(data_dir: PathBuf, compiler: Compiler) -> Self {
        Self {
            number: ShardNumber(0),
            life: ShardLife(0),
            data_dir,
            compiler,
            trust_keys: TrustKeys::default(),
            limits: ShardLimits::default(),
            task_cap: TaskLimits::NODE_CAP,
            otlp_endpoint: None,
            telemetry: TelemetryConfig::default(),
            outgoing_hosts: Vec::new(),
            outgoing_limits: OutgoingLimits::default(),
        }
    }
}

/// One shard, used only on its executor's thread.
pub struct Shard {
    pub(crate) engine: Engine,
    pub(crate) ticker: Ticker,
    pub(crate) table: Table,
    pub(crate) watch: Rc<Watch>,
    pub(crate) metrics: Metrics,
    pub(crate) steps: Rc<Steps>,
    pub(crate) states: Rc<SharedStates>,
    pub(crate) client: Rc<Client>,
    number: ShardNumber,
    life: ShardLife,
    limits: ShardLimits,
    task_cap: TaskLimits,
    pub(crate) line: Rc<Line>,
    pub(crate) admission: Rc<Admission>,
    loader: Loader,
    store: Arc<Store>,
    compiled: CompiledCache,
    trust_keys: Arc<TrustKeys>,
    ids: RefCell<TaskIdSource>,
    submissions: RefCell<Submissions>,
}

/// A submitted task.
pub struct Accepted {
    /// The task.
    pub task: Rc<Task>,
    /// False when an idempotency key named a task that was there already.
    pub created: bool,
}

/// A task that can be looked up.
pub enum Found {
    /// It is known.
    Known(Rc<Task>),
    /// It ended with an earlier life of this shard's process.
    Lost(Box<task::Task>),
}

impl Shard {
    /// Opens a shard on the current thread's executor.
    ///
    /// # Errors
    /// When the data directory, the engine or a thread cannot be had.
    pub fn open(config: ShardConfig) -> Result<Rc<Self>, Error> {
        let engine = Engine::for_running(&config.limits, &config.task_cap)?;
        let store = Arc::new(Store::open(&config.data_dir.join(STORE_DIR))?);
        let compiled = CompiledCache::open(&config.data_dir.join(COMPILED_DIR), config.compiler)?;
        let trust_keys = Arc::new(config.trust_keys);
        let loader = Loader::new(
            engine.clone(),
            Arc::clone(&store),
            Arc::clone(&trust_keys),
            compiled.clone(),
            config.task_cap,
            &config.limits,
        )?;
        let ticker = Ticker::start(&engine).map_err(|error| Error::Io {
            what: "cannot start the epoch thread".into(),
            error,
        })?;
        let seed = u64::from_ne_bytes(random()?);
        let states = SharedStates::new(
            config.number,
            States::new(
                config.number,
                config.life,
                &config.limits,
                Secret::new(random()?),
            ),
            StateIdSource::new(config.number, config.life, seed.rotate_left(32)),
        );
        let line = Line::new(config.limits.request_wait_ms_max, ticker.slice());
        let shard = Rc::new(Self {
            ticker,
            table: Table::new(&config.limits),
            watch: Rc::default(),
            metrics: Metrics::new(),
            steps: Rc::new(Steps::start(
                config.number,
                &config.limits,
                config.otlp_endpoint.as_deref(),
                config.telemetry,
                seed,
            )?),
            states,
            client: Client::new(config.outgoing_hosts, config.outgoing_limits),
            number: config.number,
            life: config.life,
            limits: config.limits,
            task_cap: config.task_cap,
            line,
            admission: Admission::new(&config.limits),
            loader,
            store,
            compiled,
            trust_keys,
            ids: RefCell::new(TaskIdSource::new(config.number, config.life, seed)),
            submissions: RefCell::new(Submissions::new(config.limits.idempotency_keys_max)),
            engine,
        });
        let admission = Rc::clone(&shard.admission);
        rt::spawn(Rc::clone(&shard.line).let_go(move || admission.room_for_requests()));
        let weak = Rc::downgrade(&shard);
        rt::spawn(async move {
            while let Some(shard) = weak.upgrade() {
                shard.table.forget();
                shard.loader.end_old_instances();
                shard.client.end_old_connections();
                shard.metrics.look_for_stalls();
                shard.metrics.forget_artifacts(&shard);
                shard.steps.follow_clock();
                drop(shard);
                rt::sleep(HOUSEKEEPING_PERIOD).await;
            }
        });
        if shard.steps.exports() && config.telemetry.metrics_interval_ms > 0 {
            let interval = Duration::from_millis(config.telemetry.metrics_interval_ms);
            let weak = Rc::downgrade(&shard);
            rt::spawn(async move {
                loop {
                    rt::sleep(interval).await;
                    let Some(shard) = weak.upgrade() else { return };
                    shard.steps.offer_metrics(shard.metrics());
                }
            });
        }
        Ok(shard)
    }

    /// Its number on the node.
    #[must_use]
    pub fn number(&self) -> ShardNumber {
        self.number
    }

    /// How often its process was restarted.
    #[must_use]
    pub fn life(&self) -> ShardLife {
        self.life
    }

    /// Its bounds.
    #[must_use]
    pub fn limits(&self) -> &ShardLimits {
        &self.limits
    }

    /// The artifact store; its calls block and belong into [`rt::unblock`].
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Whose signatures are accepted.
    #[must_use]
    pub fn trust_keys(&self) -> &Arc<TrustKeys> {
        &self.trust_keys
    }

    /// Its states.
    #[must_use]
    pub fn states(&self) -> &Rc<SharedStates> {
        &self.states
    }

    /// Notes that a request for a task has come in, with the client's trace if it sent one. To be called as
    /// soon as the request's head is there: the task's time counts from here.
    #[must_use]
    pub fn arrival(&self, traceparent: Option<&str>) -> Arrival {
        self.steps.arrival(traceparent)
    }

    /// The last records of its tasks' steps.
    #[must_use]
    pub fn recent(&self) -> &Recent {
        self.steps.recent()
    }

    /// A request leaves for the shard that is to run its task.
    #[must_use]
    pub fn hop(&self, traceparent: Option<&str>, kind: Kind) -> Hop {
        self.steps.hop(traceparent, kind)
    }

    /// The answer to a request that was sent on is back, and names its task.
    pub fn forwarded(&self, hop: &Hop, task: TaskId) {
        self.steps.forwarded(hop, task);
    }

    /// The digest that a reference means now.
    ///
    /// # Errors
    /// When nothing, or more than one artifact, fits.
    pub fn resolve(&self, reference: &Reference) -> Result<Digest, Error> {
        Ok(self.store.resolve(reference)?)
    }

    /// Whether an artifact is in the store no more.
    pub(crate) fn is_gone(&self, digest: &Digest) -> bool {
        let found = self.store.resolve(&Reference::Digest(*digest));
        matches!(found, Err(artifact::Error::NotFound { .. }))
    }

    /// What checks, off the executor, that a component can run.
    #[must_use]
    pub fn preparer(&self) -> Preparer {
        self.loader.preparer()
    }

    /// Makes a component runnable that is in no store, under the digest that is returned.
    ///
    /// # Errors
    /// [`Error::ArtifactInvalid`] with the reason.
    pub async fn adopt(&self, component: Vec<u8>, manifest: Manifest) -> Result<Digest, Error> {
        self.loader.adopt(component, manifest).await
    }

    /// Drops what is loaded and compiled of an artifact that was removed from the store.
    pub async fn forget_artifact(&self, digest: Digest, wasm: Option<Digest>) {
        self.loader.forget(&digest);
        if let Some(wasm) = wasm {
            let compiled = self.compiled.clone();
            rt::unblock(move || compiled.remove(&wasm)).await;
        }
    }

    /// Accepts a command task.
    ///
    /// # Errors
    /// When the artifact cannot be loaded or is no command, the request exceeds a bound, or the
    /// queue is full, or a state cannot be bound. Nothing was started then.
    pub async fn submit(self: &Rc<Self>, submit: Submit) -> Result<Accepted, Error> {
        check_arguments(&submit)?;
        let (loaded, cold) = self.load(&submit.artifact).await?;
        loaded.command()?;
        check_environment(&submit.environment, &loaded)?;
        if let Some(first) = self.first_submission(&submit)? {
            return Ok(first);
        }
        let mut limits = loaded.limits;
        if let Some(wall_ms_max) = submit.wall_ms_max {
            limits.wall_ms_max = wall_ms_max.min(self.task_cap.wall_ms_max);
        }
        let id = self.next_id(clock::monotonic_ns());
        let ticket = self.counted(self.admission.admit(Kind::Command))?;
        let (bindings, binds) = self
            .bind_all(id, &submit.bindings, &loaded, &limits)
            .await?;
        // Binding another shard's state took time, in which the same submission may have come again.
        if let Some(first) = self.first_submission(&submit)? {
            return Ok(first);
        }
        let output = if submit.stream_output {
            TaskOutput::Streamed(Pipe::new(self.limits.stream_buffer_bytes_max))
        } else {
            TaskOutput::kept(limits.output_bytes_max)
        };
        let task = self.new_task(NewTask {
            id,
            artifact: loaded.digest,
            kind: Kind::Command,
            limits,
            trace: submit.arrival.trace,
            control: Control::new(limits.cpu_ms_max, self.ticker.slice()),
            output,
            bindings,
            cold,
            received_ns: submit.arrival.received_ns,
            accepted_ns: clock::monotonic_ns(),
            exchange: None,
        });
        self.steps.bound(&task, &binds);
        if let Some((key, fingerprint)) = submit.idempotency {
            self.submissions
                .borrow_mut()
                .remember(key, fingerprint, task.id);
        }
        let command = Command {
            // A program's first argument is its own name.
            arguments: std::iter::once(program_name(&loaded))
                .chain(submit.arguments)
                .collect(),
            config: with_changes(&loaded.config, submit.config),
            loaded,
            environment: submit.environment,
            input: submit.input,
        };
        rt::spawn(run_command(
            Rc::clone(self),
            Rc::clone(&task),
            command,
            ticket,
        ));
        Ok(Accepted {
            task,
            created: true,
        })
    }

    /// Runs one HTTP task up to its response. `None` in place of the response when the task ends
    /// without one; it says why once it has ended.
    ///
    /// # Errors
    /// As [`Shard::submit`].
    pub async fn invoke<B>(
        self: &Rc<Self>,
        artifact: &Digest,
        request: Request<B>,
        arrival: Arrival,
    ) -> Result<(Rc<Task>, Option<Response<ResponseBody>>), Error>
    where
        B: Body<Data = Bytes, Error = BodyError> + Send + 'static,
    {
        self.invoke_bound(artifact, request, arrival, &[]).await
    }

    /// As [`Shard::invoke`], with states.
    ///
    /// # Errors
    /// As [`Shard::submit`].
    pub async fn invoke_bound<B>(
        self: &Rc<Self>,
        artifact: &Digest,
        request: Request<B>,
        arrival: Arrival,
        bindings: &[Binding],
    ) -> Result<(Rc<Task>, Option<Response<ResponseBody>>), Error>
    where
        B: Body<Data = Bytes, Error = BodyError> + Send + 'static,
    {
        self.counted(self.admission.check_room())?;
        let turn_ns = self.counted(self.line.turn(arrival.received_ns).await)?;
        let (loaded, cold) = self.load(artifact).await?;
        loaded.http()?;
        let limits = loaded.limits;
        let id = self.next_id(turn_ns);
        let ticket = self.counted(self.admission.admit(Kind::Http))?;
        let (bindings, binds) = self.bind_all(id, bindings, &loaded, &limits).await?;
        let was_at_once = binds.is_empty() && !cold;
        let accepted_ns = if was_at_once {
            turn_ns
        } else {
            clock::monotonic_ns()
        };
        let task = self.new_task(NewTask {
            id,
            artifact: loaded.digest,
            kind: Kind::Http,
            limits,
            trace: arrival.trace,
            control: Control::new(limits.cpu_ms_max, self.ticker.slice()),
            output: TaskOutput::Response,
            bindings,
            cold,
            received_ns: arrival.received_ns,
            accepted_ns,
            exchange: Some(Exchange::received(
                Method::of(request.method().as_str()),
                request.uri().path(),
            )),
        });
        self.steps.bound(&task, &binds);
        let response = run_http(self, &task, loaded, request, ticket).await;
        Ok((task, response))
    }

    /// The task with this id, which must be one of this shard's.
    ///
    /// # Errors
    /// [`Error::TaskNotFound`].
    pub fn task(&self, id: TaskId) -> Result<Found, Error> {
        if let Some(task) = self.table.get(id) {
            return Ok(Found::Known(task));
        }
        if id.shard() == self.number && id.life() < self.life {
            return Ok(Found::Lost(Box::new(lost(id))));
        }
        Err(Error::TaskNotFound { id })
    }

    /// Tasks, newest first: at most `rows_max` that pass `filter`, older than `before` if given.
    #[must_use]
    pub fn tasks(
        &self,
        before: Option<TaskId>,
        rows_max: usize,
        filter: impl Fn(&Task) -> bool,
    ) -> Vec<task::Task> {
        let mut rows = Vec::new();
        self.table.newest(before, |task| {
            if rows.len() < rows_max && filter(task) {
                rows.push(task.describe());
            }
            rows.len() < rows_max
        });
        rows
    }

    /// Its metrics now.
    #[must_use]
    pub fn metrics(&self) -> Snapshot {
        self.metrics.snapshot(self)
    }

    /// Counts the requests that are sent on to another shard.
    #[must_use]
    pub fn forward_hops(&self) -> &Counter {
        self.metrics.forward_hops()
    }

    /// Counts the connections that are open.
    #[must_use]
    pub fn connections(&self) -> &Gauge {
        self.metrics.connections()
    }

    /// What became of its trace records, and of guests' own spans and logs; `None` when they go nowhere.
    #[must_use]
    pub fn exported(&self) -> Option<(ExportTotals, EventTotals)> {
        let totals = || (self.steps.totals(), self.steps.event_totals());
        self.steps.exports().then(totals)
    }

    /// Tasks that run now.
    #[must_use]
    pub fn running(&self) -> usize {
        self.watch.running_len()
    }

    /// Instances that wait for their next task.
    #[must_use]
    pub fn idle_instances(&self) -> usize {
        self.loader.idle_instances()
    }

    /// Tasks that wait now.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.line.length() + self.admission.queued()
    }

    /// Whether new tasks are refused because the shard is stopping.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.admission.is_closed()
    }

    /// Accepts no more tasks.
    pub fn refuse_tasks(&self) {
        self.admission.close();
    }

    /// Accepts no more tasks, lets those it has finish until `deadline` has passed, then stops them
    /// and sends what is left of the telemetry.
    pub async fn drain(&self, deadline: Duration) {
        self.refuse_tasks();
        let idle = |shard: &Self| shard.running() == 0 && shard.queued() == 0;
        let wait = async |limit: Duration| {
            let end =
                clock::monotonic_ns() + u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX / 2);
            while !idle(self) && clock::monotonic_ns() < end {
                rt::sleep(Duration::from_millis(5)).await;
            }
        };
        wait(deadline).await;
        self.table.stop_all(Stop::Draining);
        wait(Duration::from_secs(1)).await;
        self.steps.offer_metrics(self.metrics());
        self.steps.stop().await;
    }

    async fn load(&self, digest: &Digest) -> Result<(Rc<Loaded>, bool), Error> {
        let (loaded, cold) = self.loader.load(digest).await?;
        if cold {
            self.metrics.cold_start();
        }
        Ok((loaded, cold))
    }

    /// Counts a refusal.
    fn counted<T>(&self, admitted: Result<T, Error>) -> Result<T, Error> {
        admitted.inspect_err(|_| self.metrics.task_refused())
    }

    /// Binds a state to a task that waits for its turn.
    ///
    /// # Errors
    /// [`StateError::TaskNotQueued`], and as for a submission.
    pub async fn bind(&self, task: &Rc<Task>, binding: Binding) -> Result<(), Error> {
        let queued = || match task.status() {
            Status::Queued => Ok(()),
            status => Err(StateError::TaskNotQueued { status }),
        };
        queued()?;
        let (loaded, _) = self.load(&task.artifact).await?;
        let wanted = std::slice::from_ref(&binding);
        task.bindings.borrow().check(wanted, &loaded.manifest)?;
        let started_ns = clock::monotonic_ns();
        let bound = self.bind_all(task.id, wanted, &loaded, &task.limits).await;
        let bind = Bind {
            binding: &binding,
            started_ns,
            ended_ns: clock::monotonic_ns(),
            code: bound.as_ref().err().map(Error::code),
        };
        self.steps.bound(task, &[bind]);
        let (more, _) = bound?;
        // Its turn may have come meanwhile, or somebody else may have taken the name.
        queued()?;
        let mut bindings = task.bindings.borrow_mut();
        bindings.check(wanted, &loaded.manifest)?;
        bindings.append(more);
        Ok(())
    }

    /// Binds states to a task that is to be, and tells what was done for its trace.
    async fn bind_all<'a>(
        &self,
        task: TaskId,
        wanted: &'a [Binding],
        loaded: &Loaded,
        limits: &TaskLimits,
    ) -> Result<(TaskBindings, Vec<Bind<'a>>), Error> {
        let mut bindings = TaskBindings::new(Rc::clone(&self.states), limits);
        bindings.check(wanted, &loaded.manifest)?;
        let mut binds = Vec::new();
        for binding in wanted {
            let started_ns = clock::monotonic_ns();
            bindings
                .bind(task, binding.clone(), &loaded.manifest)
                .await?;
            binds.push(Bind {
                binding,
                started_ns,
                ended_ns: clock::monotonic_ns(),
                code: None,
            });
        }
        Ok((bindings, binds))
    }

    /// The task that a submission's idempotency key stands for already.
    fn first_submission(&self, submit: &Submit) -> Result<Option<Accepted>, Error> {
        let Some((key, fingerprint)) = &submit.idempotency else {
            return Ok(None);
        };
        let first = self.submissions.borrow().find(key, *fingerprint)?;
        // A task that was forgotten meanwhile cannot be shown: then this is a new submission.
        let task = first.and_then(|id| self.table.get(id));
        Ok(task.map(|task| Accepted {
            task,
            created: false,
        }))
    }

    fn next_id(&self, now_ns: u64) -> TaskId {
        let now = UNIX_EPOCH + Duration::from_nanos(self.steps.unix_ns(now_ns));
        self.ids.borrow_mut().next(now)
    }

    fn new_task(&self, new: NewTask) -> Rc<Task> {
        let task = Rc::new(Task::new(new));
        self.steps.submitted(&task);
        self.table.insert(Rc::clone(&task));
        task
    }
}

/// A task of an earlier life of the shard's process, as far as its id tells.
#[must_use]
pub fn lost(id: TaskId) -> task::Task {
    let message = format!(
        "shard {} was restarted after it had accepted the task; what ran there is lost, submit it again",
        id.shard()
    );
    task::Task {
        id,
        status: Status::Failed,
        artifact: None,
        kind: None,
        shard: id.shard(),
        submitted_ms: unix_ms_of(id),
        started_ms: None,
        ended_ms: None,
        exit_code: None,
        error: Some(TaskError {
            code: Code::ShardLost,
            message,
        }),
        trace_id: None,
        bindings: Vec::new(),
        usage: Usage::default(),
        output_bytes: 0,
        log_bytes: 0,
        log_bytes_dropped: 0,
    }
}

/// An artifact's settings with those of a submission.
fn with_changes(config: &Config, changes: Vec<(String, String)>) -> Config {
    if changes.is_empty() {
        return Arc::clone(config);
    }
    let mut changed = BTreeMap::clone(config);
    changed.extend(changes);
    Arc::new(changed)
}

fn program_name(loaded: &Loaded) -> String {
    loaded
        .manifest
        .name
        .clone()
        .unwrap_or_else(|| "main.wasm".into())
}

fn random<const BYTES: usize>() -> Result<[u8; BYTES], Error> {
    let mut bytes = [0; BYTES];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).map_err(
        |error| Error::Io {
            what: "cannot get random bytes".into(),
            error: error.into(),
        },
    )?;
    Ok(bytes)
}
