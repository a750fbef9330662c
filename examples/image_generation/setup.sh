#!/bin/sh
# Fetches a colour emoji font where there is none and apt may install it; else says what to install.
set -u
has_font() { fc-list 2>/dev/null | grep -qi 'color *emoji' || ls /usr/share/fonts/truetype/noto/NotoColorEmoji.ttf >/dev/null 2>&1; }
[ "$(uname)" = Darwin ] && exit 0
has_font && exit 0
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    echo "installing fonts-noto-color-emoji and libfribidi0"
    { apt-get update -qq && apt-get install -y -qq fonts-noto-color-emoji libfribidi0; } >/dev/null || true
fi
has_font && exit 0
echo "There is no colour emoji font. To draw emoji, please install one, for example:" >&2
echo "    sudo apt-get install fonts-noto-color-emoji libfribidi0    # Debian, Ubuntu" >&2
echo "    sudo dnf install google-noto-color-emoji-fonts fribidi     # Fedora" >&2
