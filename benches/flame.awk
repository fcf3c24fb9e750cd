# Folded stacks ("outermost;...;innermost count") to a flame chart in SVG. Widths are shares of all samples; what is
# narrower than a pixel is left out. -v title=...
BEGIN { width = 1100; row = 15; least = 1 }
{
    count = $NF
    sub(/ [0-9]+$/, "")
    total += count
    n = split($0, frames, ";")
    path = ""
    for (i = 1; i <= n; i++) {
        parent = path
        path = path ";" frames[i]
        if (!(path in sum)) {
            children[parent] = children[parent] "\n" frames[i]
            if (i > deepest) deepest = i
        }
        sum[path] += count
    }
}
function escaped(text) { gsub(/&/, "\\&amp;", text); gsub(/</, "\\&lt;", text); gsub(/>/, "\\&gt;", text); return text }
function colour(name) {
    if (name ~ /_\[k\]$/) return "#f2b8a0"
    if (name ~ /rustls|aws_lc/) return "#b8d8f0"
    if (name ~ /sqlite|sqlx|tsm_storage/) return "#d8c8f0"
    if (name ~ /tsm_crypto|tsm_protocols|k256|blake3|crypto_bigint|aes/) return "#b8e0b0"
    if (name ~ /hyper|axum|tower|serde|tsm_server/) return "#f0e0a0"
    return "#e4e4e4"
}
function draw(path, name, depth, x,    w, names, n, i, shown) {
    w = width * sum[path] / total
    if (w < least) return
    shown = name
    if (length(shown) > w / 6.2) shown = w < 25 ? "" : substr(shown, 1, int(w / 6.2) - 2) ".."
    if (depth > highest) highest = depth
    boxes = boxes sprintf("<g><title>%s: %.1f %%</title><rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>", escaped(name), 100 * sum[path] / total, x, depth * row + 30, w, row - 1, colour(name))
    if (shown) boxes = boxes sprintf("<text x=\"%.1f\" y=\"%d\">%s</text>", x + 2, depth * row + 41, escaped(shown))
    boxes = boxes "</g>\n"
    n = split(substr(children[path], 2), names, "\n")
    for (i = 1; i <= n; i++) {
        draw(path ";" names[i], names[i], depth + 1, x)
        x += width * sum[path ";" names[i]] / total
    }
}
END {
    n = split(substr(children[""], 2), names, "\n")
    x = 0
    for (i = 1; i <= n; i++) {
        draw(";" names[i], names[i], 0, x)
        x += width * sum[";" names[i]] / total
    }
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"monospace\" font-size=\"10\">\n", width, (highest + 1) * row + 40
    printf "<text x=\"2\" y=\"18\" font-size=\"13\">%s</text>\n%s</svg>\n", escaped(title), boxes
}
