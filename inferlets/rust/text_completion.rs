//! Greedy text completion in Rust, with the fine-grained calls; the same text as ../text_completion.py gives.

mod json;
mod pie;

fn run() -> Result<Option<String>, pie::Error> {
    let flags = pie::get_flags()?;
    let model = &pie::model_names()?[0];
    let facts = pie::model_facts(model)?;
    let eos_tokens = json::numbers(json::find(&facts, "eos_tokens"));
    let range = json::number(json::find(&facts, "max_position")).unwrap_or(0) as usize;
    let most = json::number(json::find(&flags, "max_tokens")).unwrap_or(0) as usize;
    let q = pie::create_queue(model)?;

    let mut tokens: Vec<u32> = json::number(json::find(&facts, "bos_token")).map(|t| t as u32).into_iter().collect();
    tokens.extend(pie::tokenize(q, &json::text(json::find(&flags, "prompt")))?);
    let start = tokens.len();
    let end = range.min(start + most);
    let positions: Vec<u32> = (0..start as u32).collect();

    let page_size = pie::get_kvpage_size(model)? as usize;
    let pages = pie::alloc_kvpage(q, (end.max(start) + page_size - 1) / page_size)?;
    let (embeds, last) = (pie::alloc_emb(q, start)?, pie::alloc_emb(q, 1)?);
    pie::embed_txt(q, &tokens, &positions, &embeds)?;
    pie::forward(q, &[], &embeds, &pages, &last)?;
    pie::dealloc_emb(q, &embeds)?;

    let mut shown = 0;
    while tokens.len() < end {
        let token = pie::next_ids(q, &last, 1)?[0];
        if eos_tokens.contains(&token.into()) {
            break;
        }
        let position = tokens.len() as u32;
        tokens.push(token);
        let text = pie::detokenize(q, &tokens[start..])?;
        if !text.ends_with('\u{FFFD}') && text.len() > shown {
            pie::output(&text[shown..])?;
            shown = text.len();
        }
        let embedded = pie::embed_txt(q, &[token], &[position], &last)?;
        pie::forget(&[embedded, pie::forward(q, &pages, &last, &pages, &last)?]);
    }
    let text = pie::detokenize(q, &tokens[start..])?;
    pie::output(&text[shown..])?;
    pie::output("\n")?;
    Ok(None)
}
