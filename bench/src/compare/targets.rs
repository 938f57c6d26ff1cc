//! The servers that VYR is compared with, and how each is started.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::Error;
use super::guests::{EVENT_TRANSFORM, HELLO, HELLO_GROW, PROBE};
use super::server::{Server, Setup, free_address};

/// A `wasmtime serve` as an expert would set it up for fresh instances.
const TUNED: &[&str] = &[
    "-O",
    "pooling-allocator=y",
    "-O",
    "pooling-memory-keep-resident=2097152",
    "-O",
    "pooling-table-keep-resident=65536",
    "-O",
    "pooling-pagemap-scan=y",
];
const INSTALL: &str = "install it with: eval \"$(scripts/bench-targets)\"";

/// Which server of ours without Wasm.
pub(super) const TOKIO: &str = "tokio";
pub(super) const IO_URING: &str = "io_uring";
pub(super) const EPOLL: &str = "epoll";

impl Setup {
    /// A node of one shard with all guests.
    pub(super) fn node_with_guests(&self) -> Result<Server, Error> {
        let (node, _) = self.node("node", 1)?;
        let reuse = "[instances]\npolicy = \"reuse\"\n";
        self.put(&node, "hello", HELLO, None)?;
        self.put(&node, "hello-reuse", HELLO, Some(reuse))?;
        self.put(&node, "hello-grow", HELLO_GROW, None)?;
        self.put(&node, "event-transform", EVENT_TRANSFORM, None)?;
        self.put(&node, "probe", PROBE, None)?;
        Ok(node)
    }

    /// `wasmtime serve` with a component.
    pub(super) fn wasmtime(
        &self,
        name: &str,
        component: &[u8],
        tuned: bool,
    ) -> Result<Server, Error> {
        let program = installed(self.wasmtime.as_deref(), "wasmtime")?;
        let component = self.write(&format!("wasmtime-{name}.wasm"), component)?;
        let address = free_address()?;
        let mut command = Command::new(program);
        command.arg("serve").args(["-S", "cli"]);
        if tuned {
            command.args(TUNED);
        }
        command
            .args(["--addr", &address.to_string()])
            .arg(component);
        self.start(&mut command, address)
    }

    /// workerd with a JavaScript handler that says the same as hello.
    pub(super) fn workerd(&self) -> Result<Server, Error> {
        let program = installed(self.workerd.as_deref(), "workerd")?;
        let address = free_address()?;
        let config = self.write("workerd.capnp", workerd_config(address).as_bytes())?;
        self.start(Command::new(program).arg("serve").arg(config), address)
    }

    /// nginx with `return 200`.
    pub(super) fn nginx(&self) -> Result<Server, Error> {
        let program = installed(self.nginx.as_deref(), "nginx")?;
        let address = free_address()?;
        let config = self.write("nginx.conf", nginx_config(address, &self.dir).as_bytes())?;
        let mut command = Command::new(program);
        command
            .arg("-e")
            .arg("stderr")
            .arg("-p")
            .arg(&self.dir)
            .arg("-c")
            .arg(config);
        self.start(&mut command, address)
    }

    /// A hyper service without Wasm.
    pub(super) fn hyper(&self, executor: &str) -> Result<Server, Error> {
        let address = free_address()?;
        let mut command = Command::new(&self.vyr);
        command.args(["bench", "serve", "--executor", executor, "--listen"]);
        self.start(command.arg(address.to_string()), address)
    }
}

fn installed<'a>(program: Option<&'a Path>, name: &str) -> Result<&'a Path, Error> {
    program.ok_or_else(|| Error::Missing {
        program: name.to_owned(),
        remedy: INSTALL,
    })
}

fn workerd_config(address: SocketAddr) -> String {
    format!(
        "using Workerd = import \"/workerd/workerd.capnp\";\n\
         const config :Workerd.Config = (services = [(name = \"hello\", worker = .hello)],\n\
         \x20 sockets = [(name = \"http\", address = \"{address}\", http = (), service = \"hello\")]);\n\
         const hello :Workerd.Worker = (compatibilityDate = \"2025-01-01\", modules = [(name = \"hello\",\n\
         \x20 esModule = \"export default {{ async fetch() {{ return new Response('hello\\\\n'); }} }}\")]);\n"
    )
}

fn nginx_config(address: SocketAddr, dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\npid {dir}/nginx.pid;\nerror_log /dev/null;\n\
         events {{ worker_connections 2048; }}\n\
         http {{\n\
         \x20 access_log off;\n  keepalive_requests 1000000000;\n\
         \x20 client_body_temp_path {dir}/nginx-body;\n  proxy_temp_path {dir}/nginx-proxy;\n\
         \x20 fastcgi_temp_path {dir}/nginx-fastcgi;\n  uwsgi_temp_path {dir}/nginx-uwsgi;\n\
         \x20 scgi_temp_path {dir}/nginx-scgi;\n\
         \x20 server {{ listen {address}; location / {{ return 200 \"hello\\n\"; }} }}\n\
         }}\n"
    )
}
