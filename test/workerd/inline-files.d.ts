/** Vite gives any file as the text of a `data:` URL. Tests in workerd have no files. */
declare module '*?url&inline' {
  const url: string
  export default url
}
