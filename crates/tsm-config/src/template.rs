//! Values taken from the environment at start: ``{{ env `NAME` }}`` inside a string.

use zeroize::Zeroizing;

/// Why a template could not be replaced.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TemplateError {
    /// The environment has no such variable (or not in UTF-8).
    Unset(String),
    /// A template of the documentation that this version does not have.
    NotBuilt,
    /// Anything else between the braces.
    Malformed,
}

/// Whether `text` has a template in it.
pub(super) fn is_template(text: &str) -> bool {
    text.contains("{{")
}

/// Replaces every template. What comes from the environment is not looked at again.
pub(super) fn expand(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Zeroizing<String>, TemplateError> {
    // Built from its parts in one go, so that no half of a secret is left in a buffer that grew.
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (action, next) = after.split_once("}}").ok_or(TemplateError::Malformed)?;
        let name = variable_name(action.trim())?;
        parts.push(Zeroizing::new(before.to_owned()));
        parts.push(Zeroizing::new(variable(name).ok_or_else(|| TemplateError::Unset(name.to_owned()))?));
        rest = next;
    }
    parts.push(Zeroizing::new(rest.to_owned()));
    let mut whole = Zeroizing::new(String::with_capacity(parts.iter().map(|part| part.len()).sum()));
    for part in &parts {
        whole.push_str(part);
    }
    Ok(whole)
}

/// The name in ``env `NAME` `` or `env "NAME"`.
fn variable_name(action: &str) -> Result<&str, TemplateError> {
    if action.starts_with("awsSecret") {
        return Err(TemplateError::NotBuilt);
    }
    let quoted = action.strip_prefix("env").ok_or(TemplateError::Malformed)?.trim_start();
    let name = ['`', '"']
        .iter()
        .find_map(|&quote| quoted.strip_prefix(quote)?.strip_suffix(quote))
        .ok_or(TemplateError::Malformed)?;
    if is_variable_name(name) { Ok(name) } else { Err(TemplateError::Malformed) }
}

/// Names outside this set could not be shown in a problem without a second thought.
fn is_variable_name(name: &str) -> bool {
    const MAX_NAME_BYTES: usize = 128;
    name.len() <= MAX_NAME_BYTES
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, TemplateError> {
        let variable = |name: &str| (name == "HOST_1").then(|| "node{{1}}".to_owned());
        expand(text, &variable).map(|value| value.to_string())
    }

    #[test]
    fn a_template_is_replaced_wherever_it_stands() {
        assert_eq!(expanded("plain").unwrap(), "plain");
        assert_eq!(expanded("{{ env `HOST_1` }}").unwrap(), "node{{1}}");
        assert_eq!(
            expanded("a {{env \"HOST_1\"}}:{{  env  `HOST_1`  }} b").unwrap(),
            "a node{{1}}:node{{1}} b"
        );
    }

    #[test]
    fn any_other_template_is_refused() {
        assert_eq!(expanded("{{ env `NONE` }}"), Err(TemplateError::Unset("NONE".to_owned())));
        assert_eq!(expanded("{{ awsSecret `x` }}"), Err(TemplateError::NotBuilt));
        for text in
            ["{{", "{{ env `HOST_1`", "{{ env HOST_1 }}", "{{ env `` }}", "{{ env `A-B` }}", "{{ now }}"]
        {
            assert_eq!(expanded(text), Err(TemplateError::Malformed), "{text}");
        }
    }
}
