// The live picture: an endless MJPEG image, opened anew after a break, and let go while nobody can see it.
const HIDDEN_MS = 5000;

export class LivePicture {
  constructor(figure, image, waiting) {
    Object.assign(this, { figure, image, waiting });
    this.opened = 0;
    this.wanted = false;
    image.addEventListener("load", () => this.fits());
    image.addEventListener("error", () => this.wanted && this.again(1500));
    document.addEventListener("visibilitychange", () => {
      clearTimeout(this.hiding);
      if (document.hidden) this.hiding = setTimeout(() => this.stop(), HIDDEN_MS);
      else if (this.wanted && !this.running) this.again(0);
    });
  }

  // Called when the connection comes or goes: the picture of a connection that went is an old one.
  follow(isLive) {
    this.figure.classList.toggle("stale", !isLive);
    this.wanted = isLive;
    if (isLive) this.again(0);
  }

  // Says what is missing, if anything is.
  say(words) {
    this.waiting.hidden = !words;
    if (words && this.waiting.textContent !== words) this.waiting.textContent = words;
  }

  again(waitMs) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.opened += 1;
      this.running = true;
      this.image.src = `/stream.mjpg?${Date.now()}-${this.opened}`;
    }, waitMs);
  }

  stop() {
    clearTimeout(this.timer);
    this.running = false;
    this.image.removeAttribute("src"); // ends the transfer
  }

  fits() {
    const { naturalWidth: width, naturalHeight: height } = this.image;
    if (width && height) this.image.style.aspectRatio = `${width} / ${height}`;
  }

  async toggleFull() {
    if (this.figure.classList.contains("fill")) this.figure.classList.remove("fill");
    else if (document.fullscreenElement) await document.exitFullscreen();
    else if (this.figure.requestFullscreen) await this.figure.requestFullscreen().catch(() => this.fill());
    else this.fill(); // phones that give full screen to videos only
  }

  fill() {
    this.figure.classList.add("fill");
  }
}
