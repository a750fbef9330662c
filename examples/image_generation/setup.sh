#!/bin/sh
# Fetches a colour emoji font where there is none and apt may install it; else says what to install.
set -u
has_font() { fc-list 2>/dev/null | grep -qi 'color *emoji' || ls /usr/share/fonts/truetype/noto/NotoColorEmoji.ttf >/dev/null 2>&1; }
[ "$(uname)" = Darwin ] && exit 0
has_font && exit 0
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    echo "installing the package fonts-noto-color-emoji"
    { apt-get update -qq && apt-get install -y -qq fonts-noto-color-emoji; } >/dev/null || true
fi
has_font && exit 0
echo "There is no colour emoji font. Please install one, for example:" >&2
echo "    sudo apt-get install fonts-noto-color-emoji        # Debian, Ubuntu" >&2
echo "    sudo dnf install google-noto-color-emoji-fonts     # Fedora" >&2
exit 1
