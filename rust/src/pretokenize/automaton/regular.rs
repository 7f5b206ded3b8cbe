//! What of a regex is regular, and the automaton of that.

use regex_automata::MatchKind;
use regex_automata::hybrid::dfa::DFA;
use regex_syntax::ast::{AssertionKind, Ast, Repetition, RepetitionKind, RepetitionRange, Span};
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

/// Bytes that one thread's states may take; beyond, they are forgotten and built anew.
const CACHE_BYTES: usize = 8 << 20;

/// The alternatives of the outermost level; the whole where flags in one would hold for later ones too.
pub(super) fn alternatives(pattern: &str) -> Option<Vec<&str>> {
    let bytes = pattern.as_bytes();
    let (mut parts, mut start, mut i) = (Vec::new(), 0, 0);
    let (mut groups, mut classes) = (0usize, 0usize);
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 1,
            b'[' => {
                classes += 1;
                i += usize::from(bytes.get(i + 1) == Some(&b'^'));
                // At its beginning a bracket is one of the characters.
                i += usize::from(bytes.get(i + 1) == Some(&b']'));
            }
            b']' => classes = classes.saturating_sub(1),
            _ if classes > 0 => {}
            b'(' => {
                let flags = pattern[i + 1..].strip_prefix('?').unwrap_or("");
                let rest = flags.trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == '-');
                if groups == 0 && rest.starts_with(')') {
                    return Some(vec![pattern]);
                }
                groups += 1;
            }
            b')' => groups = groups.checked_sub(1)?,
            b'|' if groups == 0 => {
                parts.push(&pattern[start..i]);
                start = i + 1;
            }
            _ => {}
        }
        i += 1;
    }
    parts.push(&pattern[start..]);
    Some(parts)
}

/// The automaton of a regular pattern.
pub(super) fn compiled(pattern: &str) -> Option<DFA> {
    let greedy = without_possessives(pattern)?;
    DFA::builder()
        .configure(
            DFA::config()
                .match_kind(MatchKind::LeftmostFirst)
                .cache_capacity(CACHE_BYTES)
                .skip_cache_capacity_check(true),
        )
        .build(&greedy)
        .ok()
}

/// The same pattern with greedy repetitions in place of possessive ones; None where that may not be the same.
fn without_possessives(pattern: &str) -> Option<String> {
    let ast = regex_syntax::ast::parse::Parser::new()
        .parse(pattern)
        .ok()?;
    if holds_empty_loop(pattern, &ast) {
        return None;
    }
    let mut marks: Vec<Span> = Vec::new();
    let mut flagged = false;
    for alternative in parts(&ast) {
        let sequence = match alternative {
            Ast::Concat(concat) => concat.asts.as_slice(),
            one => std::slice::from_ref(one),
        };
        flagged |= sequence
            .iter()
            .any(|element| matches!(element, Ast::Flags(_)));
        for (i, element) in sequence.iter().enumerate() {
            if let Some(inner) = possessive(element) {
                let class = class(pattern, &inner.ast).filter(|_| inner.greedy)?;
                if !apart(pattern, &class, &sequence[i + 1..]) {
                    return None;
                }
                if let Ast::Repetition(outer) = element {
                    marks.push(outer.op.span);
                }
            } else if holds_possessive(element) {
                return None;
            }
        }
    }
    // Flags may change which characters a class has.
    if flagged && !marks.is_empty() {
        return None;
    }
    let mut greedy = pattern.to_string();
    for mark in marks.iter().rev() {
        greedy.replace_range(mark.start.offset..mark.end.offset, "");
    }
    Some(greedy)
}

fn parts(ast: &Ast) -> &[Ast] {
    match ast {
        Ast::Alternation(alternation) => &alternation.asts,
        one => std::slice::from_ref(one),
    }
}

/// What is repeated possessively: to this parser, `++` is a repetition of a repetition.
fn possessive(ast: &Ast) -> Option<&Repetition> {
    match ast {
        Ast::Repetition(outer) if outer.op.kind == RepetitionKind::OneOrMore => {
            match outer.ast.as_ref() {
                Ast::Repetition(inner) => Some(inner),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Whether a repetition of a repetition is anywhere inside.
fn holds_possessive(ast: &Ast) -> bool {
    match ast {
        Ast::Repetition(outer) => {
            matches!(outer.ast.as_ref(), Ast::Repetition(_)) || holds_possessive(&outer.ast)
        }
        Ast::Group(group) => holds_possessive(&group.ast),
        Ast::Alternation(alternation) => alternation.asts.iter().any(holds_possessive),
        Ast::Concat(concat) => concat.asts.iter().any(holds_possessive),
        _ => false,
    }
}

/// Whether anything is repeated that may match nothing: the engine ends such a loop, an automaton goes on.
fn holds_empty_loop(pattern: &str, ast: &Ast) -> bool {
    match (ast, possessive(ast)) {
        (_, Some(inner)) => holds_empty_loop(pattern, &inner.ast),
        (Ast::Repetition(repetition), _) => {
            let span = repetition.ast.span();
            let inner = regex_syntax::parse(&pattern[span.start.offset..span.end.offset]);
            repetition.op.kind != RepetitionKind::ZeroOrOne
                && inner.is_ok_and(|hir| hir.properties().minimum_len() == Some(0))
                || holds_empty_loop(pattern, &repetition.ast)
        }
        (Ast::Group(group), _) => holds_empty_loop(pattern, &group.ast),
        (Ast::Alternation(all), _) => all.asts.iter().any(|ast| holds_empty_loop(pattern, ast)),
        (Ast::Concat(all), _) => all.asts.iter().any(|ast| holds_empty_loop(pattern, ast)),
        _ => false,
    }
}

/// Whether nothing in `after` can begin with a character of `repeated`, as far as that is simple to tell.
fn apart(pattern: &str, repeated: &ClassUnicode, after: &[Ast]) -> bool {
    for element in after {
        let (one, optional) = match (element, possessive(element)) {
            (Ast::Assertion(a), _) => {
                // Behind fewer repetitions the text goes on.
                return matches!(a.kind, AssertionKind::EndLine | AssertionKind::EndText);
            }
            (_, Some(inner)) => (inner.ast.as_ref(), is_optional(inner)),
            (Ast::Repetition(repetition), _) => (repetition.ast.as_ref(), is_optional(repetition)),
            _ => (element, false),
        };
        let Some(mut class) = class(pattern, one) else {
            return false;
        };
        class.intersect(repeated);
        if !class.ranges().is_empty() {
            return false;
        }
        if !optional {
            return true;
        }
    }
    true
}

fn is_optional(repetition: &Repetition) -> bool {
    match &repetition.op.kind {
        RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore => true,
        RepetitionKind::OneOrMore => false,
        RepetitionKind::Range(range) => matches!(
            range,
            RepetitionRange::Exactly(0)
                | RepetitionRange::AtLeast(0)
                | RepetitionRange::Bounded(0, _)
        ),
    }
}

/// The characters that a part of a pattern stands for, if it stands for one character.
fn class(pattern: &str, ast: &Ast) -> Option<ClassUnicode> {
    let span = ast.span();
    let hir = regex_syntax::parse(&pattern[span.start.offset..span.end.offset]).ok()?;
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class.clone()),
        HirKind::Literal(literal) => {
            let mut chars = std::str::from_utf8(&literal.0).ok()?.chars();
            let only = chars.next().filter(|_| chars.next().is_none())?;
            Some(ClassUnicode::new([ClassUnicodeRange::new(only, only)]))
        }
        _ => None,
    }
}
