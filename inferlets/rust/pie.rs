//! The calls that text_completion.rs needs, written by hand over the canonical ABI: a result is read where the server
//! has written it, which is where Rust, too, would have put a `repr(C)` struct. With `wit-bindgen` at hand, generate
//! this from the WIT that `pie-core wit` writes.

use std::alloc::{alloc, handle_alloc_error, realloc, Layout};
use std::mem::{ManuallyDrop, MaybeUninit};

/// A `list` of values that own nothing, or a `string`.
#[repr(C)]
pub struct List<T> {
    ptr: *mut T,
    len: usize,
}

impl<T> List<T> {
    fn into_vec(self) -> Vec<T> {
        unsafe { Vec::from_raw_parts(self.ptr, self.len, self.len) }
    }

    fn of(items: Vec<T>) -> List<T> {
        let mut items = ManuallyDrop::new(items.into_boxed_slice());
        List { ptr: items.as_mut_ptr(), len: items.len() }
    }
}

fn text(raw: List<u8>) -> String {
    String::from_utf8(raw.into_vec()).expect("the server sends UTF-8")
}

/// What went wrong: a stable code for programs, a text for people.
#[repr(C)]
pub struct Error {
    code: List<u8>,
    message: List<u8>,
}

#[repr(C)]
union Payload<T> {
    ok: ManuallyDrop<T>,
    error: ManuallyDrop<Error>,
}

/// `result<T, error>` as it lies in memory.
#[repr(C)]
struct Outcome<T> {
    is_error: bool,
    payload: Payload<T>,
}

/// What a call gives that gives nothing.
type Nothing = [u8; 0];

/// Call a function that writes an outcome.
fn call<T>(import: impl FnOnce(*mut Outcome<T>)) -> Result<T, Error> {
    let mut outcome = MaybeUninit::uninit();
    import(outcome.as_mut_ptr());
    let Outcome { is_error, payload } = unsafe { outcome.assume_init() };
    unsafe {
        if is_error {
            Err(ManuallyDrop::into_inner(payload.error))
        } else {
            Ok(ManuallyDrop::into_inner(payload.ok))
        }
    }
}

#[repr(C)]
struct RawDist {
    ids: List<u32>,
    probs: List<f32>,
    rest: f64,
}

/// The tokens of a next-token distribution, the most probable first.
pub type Ids = Vec<u32>;

mod core_tickets {
    #[link(wasm_import_module = "pie:core/tickets@1.0.0")]
    extern "C" {
        pub(super) fn drop(tickets: *const u64, count: usize);
    }
}

mod runtime {
    use super::{List, Nothing, Outcome};
    #[link(wasm_import_module = "pie:core/runtime@1.0.0")]
    extern "C" {
        #[link_name = "get-flags"]
        pub(super) fn get_flags(outcome: *mut Outcome<List<u8>>);
        #[link_name = "model-names"]
        pub(super) fn model_names(outcome: *mut Outcome<List<List<u8>>>);
        #[link_name = "model-facts"]
        pub(super) fn model_facts(model: *const u8, len: usize, outcome: *mut Outcome<List<u8>>);
        #[link_name = "create-queue"]
        pub(super) fn create_queue(model: *const u8, len: usize, outcome: *mut Outcome<u32>);
        pub(super) fn output(text: *const u8, len: usize, outcome: *mut Outcome<Nothing>);
    }
}

mod allocate {
    use super::{List, Nothing, Outcome};
    #[link(wasm_import_module = "pie:allocate/allocate@1.0.0")]
    extern "C" {
        #[link_name = "get-kvpage-size"]
        pub(super) fn get_kvpage_size(model: *const u8, len: usize, outcome: *mut Outcome<u32>);
        #[link_name = "alloc-kvpage"]
        pub(super) fn alloc_kvpage(q: u32, n: u32, outcome: *mut Outcome<List<u32>>);
        #[link_name = "alloc-emb"]
        pub(super) fn alloc_emb(q: u32, n: u32, outcome: *mut Outcome<List<u32>>);
        #[link_name = "dealloc-emb"]
        pub(super) fn dealloc_emb(q: u32, emb: *const u32, len: usize, outcome: *mut Outcome<Nothing>);
    }
}

mod text_traits {
    use super::{List, Outcome, RawDist};
    #[link(wasm_import_module = "pie:tokenize/tokenize@1.0.0")]
    extern "C" {
        pub(super) fn tokenize(q: u32, text: *const u8, len: usize, outcome: *mut Outcome<List<u32>>);
        pub(super) fn detokenize(q: u32, ids: *const u32, len: usize, outcome: *mut Outcome<List<u8>>);
    }
    #[link(wasm_import_module = "pie:input-text/input-text@1.0.0")]
    extern "C" {
        #[link_name = "embed-txt"]
        #[rustfmt::skip]
        pub(super) fn embed_txt(
            q: u32, tok: *const u32, toks: usize, pos: *const u32, poss: usize, emb: *const u32, embs: usize,
            outcome: *mut Outcome<u64>,
        );
    }
    #[link(wasm_import_module = "pie:output-text/output-text@1.0.0")]
    extern "C" {
        #[link_name = "get-next-dist"]
        pub(super) fn get_next_dist(
            q: u32, emb: *const u32, len: usize, limited: bool, top_k: u32, outcome: *mut Outcome<u64>,
        );
        #[link_name = "get-next-dist-result"]
        pub(super) fn get_next_dist_result(ticket: u64, outcome: *mut Outcome<RawDist>);
    }
    #[link(wasm_import_module = "pie:forward/forward@1.0.0")]
    extern "C" {
        #[rustfmt::skip]
        pub(super) fn forward(
            q: u32, ikv: *const u32, ikvs: usize, iemb: *const u32, iembs: usize, okv: *const u32, okvs: usize,
            oemb: *const u32, oembs: usize, masked: bool, rows: u32, cols: u32, data: *const u8, len: usize,
            outcome: *mut Outcome<u64>,
        );
    }
}

pub fn get_flags() -> Result<String, Error> {
    call(|outcome| unsafe { runtime::get_flags(outcome) }).map(text)
}

pub fn model_names() -> Result<Vec<String>, Error> {
    let names = call(|outcome| unsafe { runtime::model_names(outcome) })?;
    Ok(names.into_vec().into_iter().map(text).collect())
}

pub fn model_facts(model: &str) -> Result<String, Error> {
    call(|outcome| unsafe { runtime::model_facts(model.as_ptr(), model.len(), outcome) }).map(text)
}

pub fn create_queue(model: &str) -> Result<u32, Error> {
    call(|outcome| unsafe { runtime::create_queue(model.as_ptr(), model.len(), outcome) })
}

/// Show text to the client.
pub fn output(text: &str) -> Result<(), Error> {
    call(|outcome| unsafe { runtime::output(text.as_ptr(), text.len(), outcome) }).map(|_| ())
}

pub fn get_kvpage_size(model: &str) -> Result<u32, Error> {
    call(|outcome| unsafe { allocate::get_kvpage_size(model.as_ptr(), model.len(), outcome) })
}

pub fn alloc_kvpage(q: u32, n: usize) -> Result<Vec<u32>, Error> {
    call(|outcome| unsafe { allocate::alloc_kvpage(q, n as u32, outcome) }).map(List::into_vec)
}

pub fn alloc_emb(q: u32, n: usize) -> Result<Vec<u32>, Error> {
    call(|outcome| unsafe { allocate::alloc_emb(q, n as u32, outcome) }).map(List::into_vec)
}

pub fn dealloc_emb(q: u32, emb: &[u32]) -> Result<(), Error> {
    call(|outcome| unsafe { allocate::dealloc_emb(q, emb.as_ptr(), emb.len(), outcome) }).map(|_| ())
}

pub fn tokenize(q: u32, text: &str) -> Result<Vec<u32>, Error> {
    call(|outcome| unsafe { text_traits::tokenize(q, text.as_ptr(), text.len(), outcome) }).map(List::into_vec)
}

pub fn detokenize(q: u32, ids: &[u32]) -> Result<String, Error> {
    call(|outcome| unsafe { text_traits::detokenize(q, ids.as_ptr(), ids.len(), outcome) }).map(text)
}

/// Returns a ticket.
pub fn embed_txt(q: u32, tok: &[u32], pos: &[u32], emb: &[u32]) -> Result<u64, Error> {
    call(|outcome| unsafe {
        text_traits::embed_txt(
            q, tok.as_ptr(), tok.len(), pos.as_ptr(), pos.len(), emb.as_ptr(), emb.len(), outcome,
        )
    })
}

/// Without a mask. Returns a ticket.
pub fn forward(q: u32, ikv: &[u32], iemb: &[u32], okv: &[u32], oemb: &[u32]) -> Result<u64, Error> {
    call(|outcome| unsafe {
        text_traits::forward(
            q, ikv.as_ptr(), ikv.len(), iemb.as_ptr(), iemb.len(), okv.as_ptr(), okv.len(), oemb.as_ptr(),
            oemb.len(), false, 0, 0, std::ptr::null(), 0, outcome,
        )
    })
}

/// The `top_k` most probable tokens at an Embed; waits for them.
pub fn next_ids(q: u32, emb: &[u32], top_k: u32) -> Result<Ids, Error> {
    let ticket = call(|outcome| unsafe {
        text_traits::get_next_dist(q, emb.as_ptr(), emb.len(), true, top_k, outcome)
    })?;
    let dist = call(|outcome| unsafe { text_traits::get_next_dist_result(ticket, outcome) })?;
    drop(dist.probs.into_vec());
    let _ = dist.rest;
    Ok(dist.ids.into_vec())
}

/// Let go of tickets that nobody will ask about; the calls run on.
pub fn forget(tickets: &[u64]) {
    unsafe { core_tickets::drop(tickets.as_ptr(), tickets.len()) }
}

#[repr(C)]
pub struct Returned {
    some: bool,
    text: List<u8>,
}

/// What the server calls: the program's result where it will be read.
#[export_name = "run"]
extern "C" fn run() -> *const Outcome<Returned> {
    let (is_error, payload) = match crate::run() {
        Ok(returned) => {
            let some = returned.is_some();
            let text = List::of(returned.unwrap_or_default().into_bytes());
            (false, Payload { ok: ManuallyDrop::new(Returned { some, text }) })
        }
        Err(error) => (true, Payload { error: ManuallyDrop::new(error) }),
    };
    Box::into_raw(Box::new(Outcome { is_error, payload }))
}

/// Memory for what the server hands over.
#[export_name = "cabi_realloc"]
unsafe extern "C" fn cabi_realloc(old: *mut u8, had: usize, align: usize, size: usize) -> *mut u8 {
    if size == 0 {
        return align as *mut u8;
    }
    let layout = Layout::from_size_align_unchecked(size, align);
    let found = if had == 0 {
        alloc(layout)
    } else {
        realloc(old, Layout::from_size_align_unchecked(had, align), size)
    };
    if found.is_null() {
        handle_alloc_error(layout);
    }
    found
}
