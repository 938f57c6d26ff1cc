//! HTTP tasks: one request, one response, bodies streamed, every end accounted for.

use bytes::Bytes;
use http_body_util::BodyExt;
use vyr_core::limits::ShardLimits;
use vyr_core::problem::Code;
use vyr_core::task::Status;

use crate::support::*;

#[test]
fn a_request_gets_the_guests_response() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let hello = adopt(&shard, "hello.wasm", Default::default()).await;
        let arrival = shard.arrival(None);
        let (task, response) = shard
            .invoke(&hello, get("/"), arrival)
            .await
            .expect("accepted");
        let response = response.unwrap_or_else(|| panic!("{:?}", task.error()));
        assert_eq!(response.status(), 200);
        assert_eq!(text(response).await, "hello\n");
        ended(&task).await;
        assert_eq!(task.status(), Status::Succeeded);
    });
}

#[test]
fn bodies_pass_both_ways() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = probe(&shard).await;
        let body = Bytes::from(vec![b'y'; 3 << 20]);
        let request = request("POST", "/echo", body.clone());
        let (task, response) = shard
            .invoke(&probe, request, shard.arrival(None))
            .await
            .expect("accepted");
        let response = response.unwrap_or_else(|| panic!("{:?}", task.error()));
        let echoed = response
            .into_body()
            .collect()
            .await
            .expect("the body is whole")
            .to_bytes();
        assert!(echoed == body, "{} bytes of {}", echoed.len(), body.len());
        ended(&task).await;
        assert_eq!(task.status(), Status::Succeeded);
    });
}

#[test]
fn failing_guests_are_told_apart() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = probe(&shard).await;
        for (path, code) in [
            ("/trap", Code::GuestTrap),
            ("/panic", Code::GuestTrap),
            ("/no-response", Code::GuestNoResponse),
            ("/trap-after-headers", Code::GuestTrap),
        ] {
            let (task, response) = shard
                .invoke(&probe, get(path), shard.arrival(None))
                .await
                .expect("accepted");
            if let Some(response) = response {
                // The head was on its way already: then the body must not look whole.
                assert!(response.into_body().collect().await.is_err(), "{path}");
            }
            ended(&task).await;
            assert_eq!(task.error().map(|error| error.code), Some(code), "{path}");
        }
    });
}

#[test]
fn a_client_that_goes_away_ends_its_task() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = probe(&shard).await;
        // Before the response: the future that waits for it is dropped.
        let waiting = shard.invoke(&probe, get("/spin"), shard.arrival(None));
        let waited = vyr_shard::rt::timeout(std::time::Duration::from_millis(50), waiting).await;
        assert!(waited.is_err(), "a spinning guest does not answer");
        until("nothing runs", || shard.running() == 0).await;
        let newest = shard.tasks(None, 1, |_| true).remove(0);
        assert_eq!(newest.status, Status::Cancelled);
        assert_eq!(newest.error.map(|error| error.code), Some(Code::ClientGone));
        // Inside the response: its body is dropped.
        let slow = get("/slow-body?chunks=1000&ms=10");
        let (task, response) = shard
            .invoke(&probe, slow, shard.arrival(None))
            .await
            .expect("accepted");
        let mut body = response.expect("it answers at once").into_body();
        body.frame()
            .await
            .expect("a first chunk")
            .expect("which is whole");
        drop(body);
        ended(&task).await;
        assert!(task.status().is_terminal() && task.status() != Status::Succeeded);
    });
}

#[test]
fn outgoing_calls_are_refused() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = probe(&shard).await;
        let outgoing = get("/outgoing?url=http://127.0.0.1:1/");
        let (task, response) = shard
            .invoke(&probe, outgoing, shard.arrival(None))
            .await
            .expect("accepted");
        let answer = text(response.unwrap_or_else(|| panic!("{:?}", task.error()))).await;
        assert!(answer.to_lowercase().contains("denied"), "{answer}");
        ended(&task).await;
    });
}

#[test]
fn a_command_is_no_http_handler() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let println = adopt(&shard, "preview1-println.wasm", Default::default()).await;
        let error = shard
            .invoke(&println, get("/"), shard.arrival(None))
            .await
            .err()
            .expect("refused");
        assert_eq!(error.code(), Code::ArtifactKindUnsupported);
        assert!(
            error.to_string().contains("wasi:http/incoming-handler"),
            "{error}"
        );
    });
}

#[test]
fn a_response_that_was_sent_whole_does_not_end_its_guest_early() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = probe(&shard).await;
        // Beside a guest that computes, others are interrupted between their response and their end.
        let spin = submit(&shard, probe, &["spin"]);
        let spinning = shard.submit(spin).await.expect("accepted").task;
        for _ in 0..200 {
            let (task, response) = shard
                .invoke(&probe, get("/hello"), shard.arrival(None))
                .await
                .expect("accepted");
            let response = response.unwrap_or_else(|| panic!("{:?}", task.error()));
            let length = response.headers().get("content-length");
            let length = length.and_then(|text| text.to_str().ok()?.parse::<usize>().ok());
            // As a server does: it sends as many bytes as the head says and asks for no more.
            let (mut body, mut sent) = (response.into_body(), 0);
            while Some(sent) != length {
                let frame = body.frame().await.expect("more").expect("whole");
                sent += frame.into_data().map_or(0, |bytes| bytes.len());
            }
            drop(body);
            ended(&task).await;
            assert_eq!(task.status(), Status::Succeeded, "{:?}", task.error());
        }
        spinning.cancel();
        ended(&spinning).await;
    });
}

#[test]
fn a_response_that_its_guest_does_not_finish_never_looks_whole() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = probe(&shard).await;
        let slow = get("/slow-body?chunks=1000&ms=10");
        let (task, response) = shard
            .invoke(&probe, slow, shard.arrival(None))
            .await
            .expect("accepted");
        let mut body = response.expect("it answers at once").into_body();
        body.frame().await.expect("a first chunk").expect("whole");
        task.cancel();
        let rest = body.collect().await;
        assert!(rest.is_err(), "it was cut short");
        ended(&task).await;
        assert_eq!(task.status(), Status::Cancelled);
    });
}
