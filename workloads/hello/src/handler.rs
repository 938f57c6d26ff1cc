//! The handler itself, with the two things a freestanding module must bring: an allocator and a
//! panic handler.

use core::alloc::{GlobalAlloc, Layout};

use bindings::exports::wasi::http::incoming_handler::Guest;
use bindings::wasi::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

mod bindings {
    wit_bindgen::generate!({ path: "../wit", world: "hello", generate_all });
}

bindings::export!(Hello with_types_in bindings);

const BODY: &[u8] = b"hello\n";

struct Hello;

impl Guest for Hello {
    fn handle(_request: IncomingRequest, response_out: ResponseOutparam) {
        #[cfg(feature = "grow")]
        grow();

        let headers = Fields::new();
        // The names and values are constants which the host accepts; were it to refuse one, the
        // response would only lack that header.
        let _ = headers.append("content-type", b"text/plain");
        let _ = headers.append("content-length", b"6");
        let response = OutgoingResponse::new(headers);
        let body = response.body();
        ResponseOutparam::set(response_out, Ok(response));
        let Ok(body) = body else { return };
        if let Ok(stream) = body.write() {
            // A failure means that the client has gone: nobody is left to tell.
            let _ = stream.blocking_write_and_flush(BODY);
        }
        let _ = OutgoingBody::finish(body, None);
    }
}

/// Grows the memory by one page and touches it.
#[cfg(feature = "grow")]
fn grow() {
    const PAGE_BYTES: usize = 65_536;
    let pages_before = core::arch::wasm32::memory_grow(0, 1);
    if pages_before != usize::MAX {
        let page = (pages_before * PAGE_BYTES) as *mut u8;
        // SAFETY: the page was added by this call and nothing else knows of it.
        unsafe { page.write_volatile(1) };
    }
}

/// An allocator without memory. Only a host's error with text in it would ask for a block, while a
/// request is answered nothing does; asking for one ends the instance.
struct NoHeap;

#[global_allocator]
static NO_HEAP: NoHeap = NoHeap;

// SAFETY: no block is ever given out, and a null pointer is the documented answer for "no memory".
unsafe impl GlobalAlloc for NoHeap {
    unsafe fn alloc(&self, _layout: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _block: *mut u8, _layout: Layout) {}
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
